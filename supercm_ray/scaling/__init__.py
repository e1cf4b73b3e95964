"""Scaling studies: how training scales with workers and tuning with concurrent trials, and at what cost."""

from supercm_ray.scaling.analysis import Analysis, analyse
from supercm_ray.scaling.measurements import FILE_NAME, Measurements, load_measurements

__all__ = ["FILE_NAME", "Analysis", "Measurements", "analyse", "load_measurements"]
