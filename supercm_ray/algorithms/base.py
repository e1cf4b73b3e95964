"""What an algorithm is: a named sum of loss terms on top of which the clustering loss may stand."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from supercm_ray.data import Batch
from supercm_ray.errors import StudyError, nearest
from supercm_ray.models import Outputs


class Algorithm(Protocol):
    """Maps the outputs on a step's rows (labeled first, then unlabeled) to scalar loss terms by name, summed as
    they are.
    """

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The terms."""


ALGORITHMS: dict[str, Algorithm] = {}
"""Algorithms by name. A new one is a function registered here."""


def get_algorithm(name: str) -> Algorithm:
    """The algorithm of this name.

    Raises:
        StudyError: for a name that is not registered.
    """
    if name not in ALGORITHMS:
        raise StudyError(f"`algorithm.name` must be a known algorithm, got {name!r}; {nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
