"""Algorithms, by name. Importing this package registers the built-in ones."""

from supercm_ray.algorithms import adversarial as _adversarial  # noqa: F401
from supercm_ray.algorithms import closed_form as _closed_form  # noqa: F401
from supercm_ray.algorithms import consistency as _consistency  # noqa: F401
from supercm_ray.algorithms import flexmatch as _flexmatch  # noqa: F401
from supercm_ray.algorithms import freematch as _freematch  # noqa: F401
from supercm_ray.algorithms import gaussian_mixture as _gaussian_mixture  # noqa: F401
from supercm_ray.algorithms import pseudo_labels as _pseudo_labels  # noqa: F401
from supercm_ray.algorithms import softmatch as _softmatch  # noqa: F401
from supercm_ray.algorithms import supervised as _supervised  # noqa: F401
from supercm_ray.algorithms.base import (
    ALGORITHMS,
    NEEDS,
    Algorithm,
    Context,
    FunctionAlgorithm,
    Step,
    Terms,
    build_algorithm,
    frozen_statistics,
)
from supercm_ray.algorithms.closed_form import ClosedForm

__all__ = [
    "ALGORITHMS",
    "NEEDS",
    "Algorithm",
    "ClosedForm",
    "Context",
    "FunctionAlgorithm",
    "Step",
    "Terms",
    "build_algorithm",
    "frozen_statistics",
]
