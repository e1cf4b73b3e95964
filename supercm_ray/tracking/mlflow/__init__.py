"""The tracker `mlflow`. Only this folder imports mlflow."""

from supercm_ray.tracking.mlflow.tracker import MlflowTracker

__all__ = ["MlflowTracker"]
