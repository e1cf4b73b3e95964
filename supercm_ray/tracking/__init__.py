"""Trackers, which copy the records to experiment tracking tools. Only `tracking.mlflow` imports MLflow."""

from supercm_ray.tracking.background import BackgroundTracker, background, resend_command
from supercm_ray.tracking.provenance import Provenance, provenance
from supercm_ray.tracking.tracker import TRACKERS, TrackedModel, Tracker, TrackerFactory
from supercm_ray.tracking.trackers import check_trackers, make_tracker, mlflow_place, tracker_names

__all__ = [
    "TRACKERS",
    "BackgroundTracker",
    "Provenance",
    "TrackedModel",
    "Tracker",
    "TrackerFactory",
    "background",
    "check_trackers",
    "make_tracker",
    "mlflow_place",
    "provenance",
    "resend_command",
    "tracker_names",
]
