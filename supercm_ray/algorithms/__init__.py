"""Host algorithms, by name."""

from supercm_ray.algorithms import adversarial as _adversarial  # noqa: F401 (registers its hosts)
from supercm_ray.algorithms import consistency as _consistency  # noqa: F401 (registers its hosts)
from supercm_ray.algorithms import pseudo_labels as _pseudo_labels  # noqa: F401 (registers its hosts)
from supercm_ray.algorithms import supervised as _supervised  # noqa: F401 (registers itself)
from supercm_ray.algorithms.base import ALGORITHMS, Host, Step, Terms, build_algorithm, find_algorithm, register

__all__ = ["ALGORITHMS", "Host", "Step", "Terms", "build_algorithm", "find_algorithm", "register"]
