"""Host algorithms, by name."""

from supercm_ray.algorithms import supervised as _supervised  # noqa: F401 (registers it)
from supercm_ray.algorithms.base import ALGORITHMS, Algorithm, get_algorithm

__all__ = ["ALGORITHMS", "Algorithm", "get_algorithm"]
