"""Seeing and ending studies from elsewhere, from their records alone. It imports neither torch nor Ray nor trackers."""

from supercm_ray.watching.cancelling import Cancelled, cancel_study
from supercm_ray.watching.events import Event, read_events
from supercm_ray.watching.status import StudyStatus, read_status

__all__ = ["Cancelled", "Event", "StudyStatus", "cancel_study", "read_events", "read_status"]
