"""What accuracy hides: how unbalanced the validation split is, and how well each class is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_NOTABLE = 0.05

Confusion = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Majority:
    """The largest class of the validation split.

    Attributes:
        name: its name.
        share: its fraction of the samples.
        num_classes: number of classes that have samples there.
    """

    name: str
    share: float
    num_classes: int

    @property
    def sentence(self) -> str:
        """What it means for accuracies; empty if its share is within 5 points of that of classes of equal size."""
        if self.share < 1 / self.num_classes + _NOTABLE:
            return ""
        return (
            f"The validation split is unbalanced: the largest class, {self.name}, has {100 * self.share:.0f} % of its "
            f"samples. Always predicting it gives that accuracy, and {100 / self.num_classes:.0f} % balanced accuracy."
        )


def majority(counts: Sequence[int], class_names: Sequence[str]) -> Majority | None:
    """Returns the largest class by the number of validation samples of each; None if the numbers are not known."""
    if not sum(counts):
        return None
    largest = int(np.argmax(counts))
    name = class_names[largest] if len(class_names) == len(counts) else str(largest)
    return Majority(name, counts[largest] / sum(counts), int(np.count_nonzero(counts)))


@dataclass(frozen=True)
class ClassRecall:
    """How well a run recognises a class on the splits whose predictions are stored.

    Attributes:
        name: name of the class.
        num_samples: samples of the class by split, `val` and `test`.
        recall: fraction of these predicted rightly, by split; None where the class has no sample.
    """

    name: str
    num_samples: dict[str, int]
    recall: dict[str, float | None]


def recalls(confusions: dict[str, Confusion], class_names: Sequence[str]) -> list[ClassRecall]:
    """Computes the recall of each class from confusions (K, K) by split, true classes in rows."""
    counts = {split: confusion.sum(axis=1).tolist() for split, confusion in confusions.items()}
    right = {split: confusion.diagonal().tolist() for split, confusion in confusions.items()}
    return [
        ClassRecall(
            name,
            {split: counts[split][k] for split in confusions},
            {split: right[split][k] / counts[split][k] if counts[split][k] else None for split in confusions},
        )
        for k, name in enumerate(class_names)
    ]
