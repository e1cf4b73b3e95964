"""The report of a scaling study."""

from supercm_ray.scaling.report.build import ScalingReport, build_scaling_report, compare

__all__ = ["ScalingReport", "build_scaling_report", "compare"]
