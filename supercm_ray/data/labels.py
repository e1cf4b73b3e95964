"""Labels as files hold them: whole numbers, text or one-hot rows, of which -1 or a missing value means unlabeled.
Shapes: N samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supercm_ray.data.dataset import UNLABELED
from supercm_ray.data.reasons import counted
from supercm_ray.errors import StudyError

Indices = npt.NDArray[np.int64]

LARGEST_WHOLE = 2**53
"""The largest number up to which fp64 represents every whole number."""
_MOST_CLASSES = 100_000
"""A label from here on is a quantity or a mistake, and no class."""
_MARKERS = frozenset({"nan", "NaN", "None", "-1"})
"""Texts that stand for a missing label, besides empty text."""
_WRAPPED = tuple(float(2**bits - 1) for bits in (8, 16, 32, 64))
"""What -1 becomes in an unsigned type."""


@dataclass(frozen=True)
class FileLabels:
    """The labels of one file.

    Attributes:
        numbers: (N,) class indices from 0, -1 where there is no label; None for text.
        texts: N class names, None where there is no label; empty for numbers.
        num_classes: number of classes that numbers can stand for.
        notes: sentences about what is odd.
    """

    numbers: Indices | None
    texts: tuple[str | None, ...] = ()
    num_classes: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Returns the number of samples N."""
        return len(self.texts) if self.numbers is None else len(self.numbers)

    def are_known(self) -> list[bool]:
        """Returns for each sample whether it has a label."""
        if self.numbers is None:
            return [text is not None for text in self.texts]
        found: list[bool] = (self.numbers != UNLABELED).tolist()
        return found

    def take(self, indices: Indices) -> FileLabels:
        """Returns the labels of these samples."""
        if self.numbers is None:
            return FileLabels(None, tuple(self.texts[i] for i in indices), notes=self.notes)
        return FileLabels(self.numbers[indices], (), self.num_classes, self.notes)


def no_labels(num_samples: int) -> FileLabels:
    """Returns the labels of samples that have none."""
    return FileLabels(np.full(num_samples, UNLABELED, dtype=np.int64))


def read_labels(values: object, num_samples: int, first_label: int, place: str) -> FileLabels:
    """Reads labels.

    Args:
        values: an array, or what numpy makes one of.
        num_samples: the number of inputs, which tells one-hot rows from one row of labels.
        first_label: the number of the first class.
        place: the name of the labels in messages, such as "`y` in a.npz".

    Raises:
        StudyError: for labels of which it is not clear which classes they mean.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise StudyError(
            f"labels must be one value for each sample for {place}, got rows of several lengths"
        ) from error
    if array.ndim > 1 and array.dtype.kind in "biuf" and len(array) == num_samples and array[0].size > 1:
        return _from_one_hot(array, place)
    if array.ndim > 1 and max(array.shape) != array.size:
        raise StudyError(
            f"labels must be one value, or one one-hot row, for each sample for {place}, got the shape {array.shape} "
            f"for {num_samples} inputs; save one label for each"
        )
    array = array.ravel()
    if array.dtype.kind == "O":
        array = _from_objects(array, place)
    if array.dtype.kind in "USb":
        return _from_texts([_text(value) for value in array.tolist()], place)
    if array.dtype.kind not in "iuf":
        raise StudyError(
            f"labels must be whole numbers or text for {place}, got {array.dtype}; save them as one of these"
        )
    numbers = _from_numbers(array, first_label, place)
    return FileLabels(numbers, num_classes=int(numbers.max(initial=UNLABELED)) + 1)


def join_labels(parts: Sequence[FileLabels], first_label: int, place: str) -> tuple[Indices, tuple[str, ...], bool]:
    """Returns the labels of several files in a row as class indices, the names of the classes, and whether these are
    the classes' own names. Numbers are named as they stand in the files.

    Raises:
        StudyError: if some files hold numbers and others text.
    """
    known = [part for part in parts if part.numbers is None or (part.numbers != UNLABELED).any()]
    if len({part.numbers is None for part in known}) > 1:
        raise StudyError(f"all labels of {place} must be text or all must be numbers, got both; save them alike")
    if not known or known[0].numbers is not None:
        numbers = [no_labels(len(part)).numbers if part.numbers is None else part.numbers for part in parts]
        num_classes = max(part.num_classes for part in parts)
        names = tuple(str(k + first_label) for k in range(num_classes))
        return np.concatenate([one for one in numbers if one is not None]), names, False
    texts = [text for part in parts for text in (part.texts or (None,) * len(part))]
    names = tuple(in_order({text for text in texts if text is not None}))
    index = {name: k for k, name in enumerate(names)}
    return np.array([UNLABELED if t is None else index[t] for t in texts], dtype=np.int64), names, bool(names)


def in_order(names: set[str]) -> list[str]:
    """Sorts names of classes into the order of their labels: numbers by value, other names alphabetically."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _from_one_hot(array: npt.NDArray[np.generic], place: str) -> FileLabels:
    """Converts (N, K) rows of zeros with a single one; a row of zeros, of -1 or without a number is unlabeled."""
    rows = array.reshape(len(array), -1).astype(np.float64)
    is_unlabeled = ~rows.any(axis=1) | (rows == UNLABELED).all(axis=1) | np.isnan(rows).all(axis=1)
    is_one_hot = np.isin(rows, (0.0, 1.0)).all(axis=1) & (rows.sum(axis=1) == 1)
    broken = np.flatnonzero(~is_one_hot & ~is_unlabeled)
    if array.ndim > 2 or len(broken):
        example = f" and {rows[broken[0]].tolist()[:8]} in sample {broken[0]}" if len(broken) else ""
        raise StudyError(
            f"labels must be one class for each sample for {place}, got the shape {array.shape}{example}; save one "
            "label or one-hot row for each: samples of several classes, and probabilities, are not taken"
        )
    numbers = np.where(is_unlabeled, UNLABELED, rows.argmax(axis=1)).astype(np.int64)
    note = f"labels {place} are one-hot and taken as {rows.shape[1]} classes"
    return FileLabels(numbers, num_classes=rows.shape[1], notes=(note,))


def _from_objects(array: npt.NDArray[np.object_], place: str) -> npt.NDArray[np.generic]:
    """Converts an array of Python objects to one of text or floats, with empty text or NaN for what is missing. Truth
    values are text.
    """
    values = [_unwrapped(value) for value in array.tolist()]
    known = [value for value in values if not _is_missing(value)]
    if known and all(isinstance(value, str | bytes) for value in known):
        return np.array(["" if _is_missing(value) else _text(value) for value in values], dtype=np.str_)
    if known and all(isinstance(value, bool) for value in known):
        return np.array(["" if _is_missing(value) else str(value) for value in values], dtype=np.str_)
    if all(isinstance(value, int | float) for value in known):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    kinds = {type(value).__name__: value for value in known}
    examples = " and ".join(f"{kind} {str(value)[:40]!r}" for kind, value in sorted(kinds.items())[:2])
    raise StudyError(f"labels must be all text or all whole numbers for {place}, got {examples}; save them alike")


def _unwrapped(value: object) -> object:
    """Returns the value in an array of one, as mat files have them, None for an empty array, and a plain number for
    numpy's.
    """
    if isinstance(value, np.ndarray) and value.size <= 1:
        value = value.item() if value.size else None
    return value.item() if isinstance(value, np.generic) else value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _from_texts(texts: Sequence[str], place: str) -> FileLabels:
    stripped = [text.strip() for text in texts]
    marked = [f"`{text}` in sample {i}" for i, text in enumerate(stripped) if text in _MARKERS]
    names = tuple(None if not text or text in _MARKERS else text for text in stripped)
    notes = counted(marked, f"{{}} labels {place} count as missing")
    words = [f"`{name}` in sample {i}" for i, name in enumerate(names) if name and not _is_number(name)]
    if len(words) < sum(name is not None for name in names):
        notes += counted(words, f"{{}} labels {place} are text among numbers, each a class of its own")
    return FileLabels(None, names, notes=notes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_numbers(values: npt.NDArray[np.generic], first: int, place: str) -> Indices:
    """Converts numbers to class indices from 0; `first` is the number of the first class in the file."""
    exact = values.astype(np.float64)
    is_missing = np.isnan(exact) | ((exact == -1) if first > -1 else False)
    known = exact[~is_missing]
    _check_wrapped(known, place)
    broken = known[~np.isfinite(known) | (known != np.floor(known)) | (np.abs(known) > LARGEST_WHOLE)]
    if len(broken):
        raise StudyError(
            f"labels must be whole numbers or text for {place}, got {broken[0]:.17g}; give classes, not quantities, "
            "and -1 or nothing where the label is unknown"
        )
    outside = known[(known < first) | (known >= first + _MOST_CLASSES)]
    if len(outside):
        raise StudyError(
            f"labels must be whole numbers from data.options.first_label={first} on, and fewer than {_MOST_CLASSES} "
            f"classes, for {place}, got the label {int(outside[0])}; number the classes in a row from there, with -1 "
            "for unlabeled samples"
        )
    return np.where(is_missing, UNLABELED, np.where(is_missing, 0, exact) - first).astype(np.int64)


def _check_wrapped(known: npt.NDArray[np.float64], place: str) -> None:
    """Refuses what is all but surely -1 that was stored in an unsigned type."""
    for top in _WRAPPED:
        rest = known[known != top]
        if len(rest) < len(known) and len(rest) and rest.max() < 100:
            raise StudyError(
                f"labels must be small numbers or -1 for {place}, got {top:.0f} {len(known) - len(rest)} times beside "
                f"labels of at most {int(rest.max())}, which is -1 stored in an unsigned type; save them in int64"
            )
