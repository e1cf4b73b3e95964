"""Splits that a file gives: published lists of labeled samples, or the splits of a former run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.config import DataConfig
from supercm_ray.data.dataset import UNLABELED, Dataset
from supercm_ray.data.reasons import reason
from supercm_ray.errors import StudyError, nearest

Indices = npt.NDArray[np.int64]
_Entries = Sequence[object] | npt.NDArray[np.generic]


@dataclass(frozen=True)
class GivenSplits:
    """The sample indices of each split that is given; None for one that is not."""

    labeled: Indices | None = None
    unlabeled: Indices | None = None
    val: Indices | None = None
    test: Indices | None = None


_NAMES = tuple(field.name for field in fields(GivenSplits))
_LABELED = ("labeled", "val", "test")
"""Splits whose samples must have a label."""


def read_splits(dataset: Dataset, data: DataConfig, seed: int) -> GivenSplits:
    """Reads the file that `data.splits` names; returns no split if it names none.

    Args:
        dataset: the data set, whose samples the file lists by index or by name.
        data: the data section of the configuration.
        seed: the seed of the run, in place of `{seed}` in the file's path.

    Raises:
        StudyError: for a file that cannot be read, samples that the data set does not have, samples without a label,
            and samples in two splits.
    """
    if data.splits is None:
        return GivenSplits()
    path = Path(data.splits.replace("{seed}", str(seed))).expanduser()
    lists = _read(path)
    given = {name: _indices(entries, dataset, f"{name} in data.splits={path}") for name, entries in lists.items()}
    for name in set(_LABELED) & given.keys():
        _check_labeled(given[name], dataset, name, path)
    _check_disjoint(given, data, path)
    _check_places(given, dataset, data, path)
    also = f" and data.label_choice={data.label_choice}" if data.label_choice != "random" else ""
    if "labeled" in given and (data.label_ratio is not None or data.labels_per_class is not None):
        raise StudyError(
            f"`data.label_ratio` and `data.labels_per_class` must be omitted where data.splits={path} lists the "
            f"labeled samples, got label_ratio={data.label_ratio}, labels_per_class={data.labels_per_class}; omit "
            f"them{also}, or omit `labeled` in that file"
        )
    return GivenSplits(**given)


def _read(path: Path) -> dict[str, _Entries]:
    """Reads the lists of a file by the name of the split."""
    try:
        lists = _READERS[path.suffix.lower()](path)
    except KeyError:
        known = ", ".join(_READERS)
        raise StudyError(f"`data.splits` must be a file of one of the kinds {known}, got {str(path)!r}") from None
    except Exception as error:  # damaged files let out errors of json, pandas, zipfile and numpy alike
        raise StudyError(
            f"`data.splits` must name a file of splits, got {str(path)!r}: {reason(error)}; save it anew"
        ) from error
    unknown = sorted(set(lists) - set(_NAMES))
    if unknown or not lists:
        got = repr(unknown[0]) if unknown else "none"
        remedy = nearest(unknown[0], _NAMES) if unknown else "name at least one"
        raise StudyError(f"the splits must be some of {', '.join(_NAMES)} in data.splits={path}, got {got}; {remedy}")
    return lists


def _from_npz(path: Path) -> dict[str, _Entries]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].ravel() for name in arrays.files}


def _from_npy(path: Path) -> dict[str, _Entries]:
    return {"labeled": np.load(path, allow_pickle=False).ravel()}


def _from_json(path: Path) -> dict[str, _Entries]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, list):
        return {"labeled": found}
    if not isinstance(found, Mapping) or not all(isinstance(entries, list) for entries in found.values()):
        raise ValueError("it is no object of lists")
    return dict(found)


def _from_csv(path: Path) -> dict[str, _Entries]:
    import pandas as pd  # needed for such files alone

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    column = next((name for name in ("index", "name") if name in table.columns), None)
    if "split" not in table.columns or column is None:
        raise ValueError(f"it has the columns {', '.join(map(str, table.columns))}, not `split` and `index` or `name`")
    rows = table[column].astype(np.int64) if column == "index" else table[column]
    return {str(name): rows[table["split"] == name].to_numpy() for name in table["split"].unique() if name}


_READERS = {".npz": _from_npz, ".npy": _from_npy, ".json": _from_json, ".csv": _from_csv}


def _are_plain(entries: _Entries) -> bool:
    """Returns whether there are no lists or objects within a list."""
    return isinstance(entries, np.ndarray) or not any(isinstance(entry, list | Mapping) for entry in entries)


def _indices(entries: _Entries, dataset: Dataset, place: str) -> Indices:
    """Returns the sample indices, sorted, that a list gives by index or by name."""
    values = np.asarray(entries) if _are_plain(entries) else np.empty((0, 0))
    if values.ndim != 1:
        raise StudyError(f"samples must be listed in a row for {place}, got lists within the list; save one list")
    if not len(values):
        return np.empty(0, dtype=np.int64)
    if values.dtype.kind in "US" or values.dtype == object:
        found = _by_name([str(value) for value in values], dataset, place)
    elif values.dtype.kind in "iu":
        found = values.astype(np.int64)
    else:
        raise StudyError(f"samples must be indices or names for {place}, got {values.dtype}; save whole numbers")
    outside = found[(found < 0) | (found >= len(dataset.labels))]
    if len(outside):
        raise StudyError(
            f"indices must lie from 0 to {len(dataset.labels) - 1} for {place}, got {outside[0]}; the file belongs to "
            "other data"
        )
    unique, counts = np.unique(found, return_counts=True)
    if len(unique) != len(found):
        raise StudyError(f"each sample must be listed once for {place}, got {unique[counts > 1][0]} twice; remove it")
    return unique


def _by_name(names: list[str], dataset: Dataset, place: str) -> Indices:
    """Returns the samples with these names: whole names or, where these are unique, the last parts of their paths."""
    if not dataset.sample_names:
        raise StudyError(f"samples must be listed by index for {place}, got {names[0]!r}; {dataset.name} has no names")
    known = {name: i for i, name in enumerate(dataset.sample_names)}
    ends = [Path(name).name for name in dataset.sample_names]
    counts = Counter(ends)
    known = {end: i for i, end in enumerate(ends) if counts[end] == 1} | known
    missing = [name for name in names if name not in known]
    if missing:
        several = counts[missing[0]] > 1
        remedy = "give its whole path" if several else nearest(missing[0], list(dataset.sample_names[:1000]))
        got = f"{missing[0]!r}, which names {counts[missing[0]]} samples" if several else repr(missing[0])
        raise StudyError(f"{len(missing)} names must be those of samples for {place}, the first is {got}; {remedy}")
    return np.array([known[name] for name in names], dtype=np.int64)


def _check_labeled(indices: Indices, dataset: Dataset, name: str, path: Path) -> None:
    unknown = indices[dataset.labels[indices] == UNLABELED]
    if len(unknown):
        raise StudyError(
            f"every {name} sample must have a label in data.splits={path}, got {len(unknown)} without, the first is "
            f"{unknown[0]}; list it among the unlabeled"
        )


def _check_disjoint(given: Mapping[str, Indices], data: DataConfig, path: Path) -> None:
    """Checks that no sample is in two splits, except those that the configuration allows."""
    allowed = {("labeled", "unlabeled")} if data.labeled_in_unlabeled else set()
    allowed |= {("unlabeled", "test")} if data.transductive else set()
    for one, other in combinations([name for name in _NAMES if name in given], 2):
        shared = np.intersect1d(given[one], given[other])
        if len(shared) and (one, other) not in allowed:
            remedy = "set data.labeled_in_unlabeled=true, or " if (one, other) == ("labeled", "unlabeled") else ""
            raise StudyError(
                f"{one} and {other} samples must be different in data.splits={path}, got {len(shared)} in both, the "
                f"first is {shared[0]}; {remedy}take them out of one list"
            )


def _check_places(given: Mapping[str, Indices], dataset: Dataset, data: DataConfig, path: Path) -> None:
    """Checks that listed training samples are not among the data set's own test or validation samples, and that with a
    target domain each split lies in its domain.
    """
    target = dataset.target_indices
    forbidden: list[tuple[str, Indices, str]] = []
    if dataset.test_indices is not None and "test" not in given:
        names = ("labeled", "val") if data.transductive else ("labeled", "val", "unlabeled")
        forbidden += [(name, dataset.test_indices, "its own test samples") for name in names]
    if dataset.val_indices is not None and "val" not in given:
        forbidden += [(name, dataset.val_indices, "its own validation samples") for name in ("labeled", "unlabeled")]
    if target is not None:
        source = np.setdiff1d(np.arange(len(dataset.labels)), target)
        forbidden += [(name, target, "the samples of the target") for name in ("labeled", "val")]
        forbidden += [(name, source, "the samples of the source") for name in ("unlabeled", "test")]
    for name, others, what in forbidden:
        shared = np.intersect1d(given[name], others) if name in given else others[:0]
        if len(shared):
            raise StudyError(
                f"{name} samples must not be among {what} in data.splits={path}, got {len(shared)} of {dataset.name}, "
                f"the first is {shared[0]}; take them out of the list"
            )
