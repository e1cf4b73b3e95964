"""The tracker `mlflow`. Only this package imports mlflow."""

from supercm_ray.tracking.mlflow.tracker import MlflowTracker

__all__ = ["MlflowTracker"]
