"""Splits into labeled, unlabeled, validation and test samples: pure functions of the labels and two seeds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.config import Config, DataConfig
from supercm_ray.data.dataset import Dataset
from supercm_ray.errors import StudyError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Four disjoint sorted arrays of sample indices that together are all samples."""

    labeled: Indices
    unlabeled: Indices
    val: Indices
    test: Indices

    @property
    def label_budget(self) -> int:
        """Number of labels that training and selection use, those for validation included."""
        return len(self.labeled) + len(self.val)

    def save(self, path: Path) -> None:
        """Writes an npz file, one array by the name of each split."""
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def split_dataset(dataset: Dataset, config: Config) -> Splits:
    """Makes the splits of a data set under a configuration (see `make_splits`)."""
    if dataset.target_indices is None:
        return make_splits(dataset.labels, config.data, config.seed, dataset.test_indices)
    return _split_domains(dataset, config.data, config.seed)


def _split_domains(dataset: Dataset, data: DataConfig, seed: int) -> Splits:
    """Splits two domains: labeled and validation samples of the source, unlabeled and test samples of the target, whose
    labels are not read.
    """
    assert dataset.target_indices is not None
    target = np.random.default_rng((data.split_seed, 2)).permutation(dataset.target_indices)
    own = dataset.test_indices
    test = target[: round(data.test_fraction * len(target))] if own is None else own
    unlabeled = target[~np.isin(target, test)]
    labels = dataset.labels
    source = np.random.default_rng((data.split_seed, 0)).permutation(np.setdiff1d(np.arange(len(labels)), target))
    num_val = _num_val(data, num_samples=len(source), num_left=len(source))
    if not len(test) or not len(unlabeled):
        got = f"{len(test)} test and {len(unlabeled)} unlabeled samples of {len(target)}"
        raise StudyError(f"the target must have samples of both kinds for data.test_fraction, got {got}; change it")
    val, train = _take(source, labels, _proportional_counts(labels[source], num_val))
    labeled = np.random.default_rng((data.split_seed, 1, seed)).permutation(np.sort(train))
    if data.label_ratio is not None or data.labels_per_class is not None:
        labeled, _ = _take(labeled, labels, _labeled_counts(labels[labeled], data))
    splits = Splits(*(np.sort(part) for part in (labeled, unlabeled, val, test)))
    _check_every_class(splits, np.unique(labels[source]), labels, data, ("labeled", "val"))
    return splits


def make_splits(labels: Indices, data: DataConfig, seed: int, test_indices: Indices | None = None) -> Splits:
    """Splits samples by class: test and validation by `data.split_seed` alone, labeled samples by `seed` as well.

    All seeds and trials of a study therefore share their test and validation samples, and no training sample of one is
    a test sample of another.

    Args:
        labels: (N,) class indices.
        data: the fractions, and `label_ratio` or `labels_per_class`.
        seed: decides which training samples are labeled.
        test_indices: the test split of a data set that has one of its own.

    Raises:
        StudyError: if a class would be left without a labeled, validation or test sample.
    """
    rng = np.random.default_rng((data.split_seed, 0))
    indices = rng.permutation(len(labels)).astype(np.int64)
    if test_indices is None:
        test, rest = _take(
            indices, labels, _proportional_counts(labels[indices], round(data.test_fraction * len(indices)))
        )
    else:
        test, rest = test_indices, indices[~np.isin(indices, test_indices)]
    num_val = _num_val(data, num_samples=len(indices), num_left=len(rest))
    val, train = _take(rest, labels, _proportional_counts(labels[rest], num_val))
    train = np.random.default_rng((data.split_seed, 1, seed)).permutation(np.sort(train))
    labeled, unlabeled = _take(train, labels, _labeled_counts(labels[train], data))
    splits = Splits(*(np.sort(part) for part in (labeled, unlabeled, val, test)))
    _check_every_class(splits, np.unique(labels), labels, data, ("labeled", "val", "test"))
    return splits


def _num_val(data: DataConfig, *, num_samples: int, num_left: int) -> int:
    """Returns the number of validation samples among `num_samples`, which must leave some of the `num_left` that are no
    test samples.
    """
    num_val = data.num_val or round(data.val_fraction * num_samples)
    if num_val >= num_left:
        raise StudyError(
            f"samples must be left to train on for data.num_val, got {num_val} of {num_left} samples; lower it"
        )
    return num_val


def _labeled_counts(labels: npt.NDArray[np.int64], data: DataConfig) -> dict[int, int]:
    if data.labels_per_class is not None:
        return {int(k): data.labels_per_class for k in np.unique(labels)}
    assert data.label_ratio is not None
    return _nested_counts(labels, round(data.label_ratio * len(labels)))


def _nested_counts(labels: npt.NDArray[np.int64], num_total: int) -> dict[int, int]:
    """Divides `num_total` samples among the classes so that no class gets fewer for a larger number (Sainte-Laguë)."""
    classes, counts = np.unique(labels, return_counts=True)
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    owner, size = np.repeat(classes, counts), np.repeat(counts, counts)
    first = np.lexsort((owner, size, place))[:num_total]
    return {int(k): int((owner[first] == k).sum()) for k in classes}


def _proportional_counts(labels: npt.NDArray[np.int64], num_total: int) -> dict[int, int]:
    """Divides `num_total` samples among the classes in proportion: largest remainders, small classes first in a tie."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * (num_total / len(labels))
    taken = np.floor(exact).astype(int)
    order = np.lexsort((counts, -(exact - taken)))
    taken[order[: num_total - taken.sum()]] += 1
    return dict(zip(classes.tolist(), taken.tolist(), strict=True))


def _take(indices: Indices, labels: npt.NDArray[np.int64], counts: dict[int, int]) -> tuple[Indices, Indices]:
    """Returns the first samples of each class up to its count, and the others in their order."""
    taken = np.zeros(len(indices), dtype=bool)
    for label, count in counts.items():
        taken[np.flatnonzero(labels[indices] == label)[:count]] = True
    return indices[taken], indices[~taken]


def _check_every_class(
    splits: Splits, classes: Indices, labels: Indices, data: DataConfig, names: tuple[str, ...]
) -> None:
    """Checks that each of these classes has a sample in the splits of these names, whose labels are known."""
    fields = {"labeled": _labeled_field(data), "val": _val_field(data), "test": "test_fraction"}
    for name in names:
        indices, field = getattr(splits, name), fields[name]
        remedy = "lower" if name == "labeled" and field == fields["val"] else "raise"
        lacking = np.setdiff1d(classes, labels[indices])
        if len(lacking):
            raise StudyError(
                f"every class must have a {name} sample for data.{field}, got {field}={getattr(data, field)}, "
                "which "
                f"gives {len(indices)} {name} samples for {len(classes)} classes and none for class {lacking[0]}; "
                f"{remedy} it, or add samples of that class"
            )
    field = _labeled_field(data)
    got = f"{field}={getattr(data, field)}"
    if data.labels_per_class is not None and len(splits.labeled) < data.labels_per_class * len(classes):
        counts = np.bincount(labels[splits.labeled])[classes]
        raise StudyError(
            f"every class must have data.labels_per_class training samples, got {got}, with only {counts.min()} in "
            f"class {classes[counts.argmin()]}; lower it"
        )
    if not len(splits.unlabeled):
        raise StudyError(f"at least one unlabeled sample must be left for data.{field}, got {got}; lower it")


def _labeled_field(data: DataConfig) -> str:
    """Returns the fields that decide the number of labeled samples; with a target both may be unset, and validation
    decides.
    """
    if data.labels_per_class is not None:
        return "labels_per_class"
    return "label_ratio" if data.label_ratio is not None else _val_field(data)


def _val_field(data: DataConfig) -> str:
    return "num_val" if data.num_val is not None else "val_fraction"
