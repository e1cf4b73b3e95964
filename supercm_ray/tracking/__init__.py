"""Trackers, which copy the records to experiment tracking tools. Only `tracking.mlflow` imports MLflow."""

from supercm_ray.tracking.background import BackgroundTracker, background, resend_command
from supercm_ray.tracking.provenance import Provenance, provenance
from supercm_ray.tracking.tracker import TRACKERS, TrackedModel, TrackedRun, Tracker, TrackerFactory
from supercm_ray.tracking.trackers import (
    check_trackers,
    log_comparison,
    make_tracker,
    mlflow_place,
    search_mlflow,
    tracker_names,
)

__all__ = [
    "TRACKERS",
    "BackgroundTracker",
    "Provenance",
    "TrackedModel",
    "TrackedRun",
    "Tracker",
    "TrackerFactory",
    "background",
    "check_trackers",
    "log_comparison",
    "make_tracker",
    "mlflow_place",
    "provenance",
    "resend_command",
    "search_mlflow",
    "tracker_names",
]
