"""MLflow: the only room that imports it."""

from supercm_ray.tracking.client import (
    BackgroundTracker,
    Tracker,
    background,
    provenance,
    tracking_uri,
    without_credentials,
)
from supercm_ray.tracking.model import log_model

__all__ = [
    "BackgroundTracker",
    "Tracker",
    "background",
    "log_model",
    "provenance",
    "tracking_uri",
    "without_credentials",
]
