"""The command `compare`: studies, trained runs and runs found in MLflow side by side, as text and as one page."""

from supercm_ray.comparing.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
