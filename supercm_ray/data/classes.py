"""The classes of a data set to learn from, checked before anything is split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from supercm_ray.errors import StudyError

if TYPE_CHECKING:
    from supercm_ray.data.dataset import Dataset


def check_classes(dataset: Dataset) -> None:
    """Checks that a data set to learn from has labels, two classes or more, and a sample to train on in each.

    Raises:
        StudyError: if one of these does not hold.
    """
    name, labels = dataset.name, dataset.labels
    if not (labels >= 0).any():
        raise StudyError(
            f"some samples must have labels for data.name={name}, got none: "
            f"{dataset.unlabeled_because or 'all labels are -1'}; name the labels in data.options, or label some "
            "and name this source under data.unlabeled"
        )
    if labels.min() < -1 or labels.max() >= dataset.num_classes:
        raise StudyError(
            f"labels must be class indices below {dataset.num_classes}, or -1, for data.name={name}, got "
            f"{labels.min() if labels.min() < -1 else labels.max()}; name all classes in class_names"
        )
    test = np.array([], dtype=np.int64) if dataset.test_indices is None else dataset.test_indices
    counts = np.bincount(labels[labels >= 0], minlength=dataset.num_classes)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise StudyError(
            f"every class must have a sample in {name}, got none of class {dataset.class_names[empty[0]]} "
            f"({len(empty)} of {len(counts)} classes have none); {_remedy_of_gap(dataset, counts)}"
        )
    if len(counts) < 2:
        raise StudyError(
            f"at least two classes must be told apart in {name}, got {len(counts)}; add samples of others"
            + _of_minus_one(dataset)
        )
    without_test = np.bincount(np.delete(labels, test)[np.delete(labels, test) >= 0], minlength=len(counts))
    if not without_test.all():
        raise StudyError(
            f"every class must have a sample to train on in {name}, got only test samples of class "
            f"{dataset.class_names[int(without_test.argmin())]}; add some to the training samples"
        )


def check_kept_labels(dataset: Dataset) -> None:
    """Checks that each sample that a data set itself keeps for the test or for validation has a label.

    Raises:
        StudyError: if one has none.
    """
    for words, indices in (("test", dataset.test_indices), ("validation", dataset.val_indices)):
        if indices is None or not (dataset.labels[indices] < 0).any():
            continue
        raise StudyError(
            f"every {words} sample must have a label in {dataset.name}, got none for "
            f"{int((dataset.labels[indices] < 0).sum())} of {len(indices)}; leave these out, or move them to the "
            "unlabeled samples"
        )


def _remedy_of_gap(dataset: Dataset, counts: npt.NDArray[np.int64]) -> str:
    """Returns what to do about a class without a sample."""
    if dataset.has_class_names:
        return "add some, or take the class away"
    first = int(np.flatnonzero(counts)[0])
    if first and counts[first:].all():
        return f"set data.options.first_label={dataset.class_names[first]}" + _of_minus_one(dataset)
    return f"number the classes without a gap{_of_minus_one(dataset)}"


def _of_minus_one(dataset: Dataset) -> str:
    """Returns a hint for those who mean a class by -1."""
    if dataset.has_class_names or not (dataset.labels < 0).any():
        return ""
    return "; -1 means unlabeled, so write another number if it is a class"
