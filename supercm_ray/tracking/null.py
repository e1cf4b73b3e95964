"""The tracker `none`, for a study that is not tracked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supercm_ray.records import Status
from supercm_ray.tracking.tracker import TrackedModel


class NullTracker:
    """Tracks nothing."""

    uri = ""
    how_to_open = ""

    def open_study(self) -> str:
        """Returns an empty id: there is no parent run."""
        return ""

    def attach_study(self) -> bool:
        """Returns False: there is no parent run."""
        return False

    def sync(self, key: str) -> None:
        """No-op."""

    def sync_all(self) -> None:
        """No-op."""

    def close_study(self, status: Status) -> None:
        """No-op."""

    def log_files(self, files: Mapping[Path, str]) -> None:
        """No-op."""

    def log_note(self, text: str) -> None:
        """No-op."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """No-op."""

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Returns an empty URI: models are not stored."""
        return ""

    def register_model(self, uri: str, name: str) -> str:
        """Returns an empty version: there is no registry."""
        return ""

    def run_id(self, key: str | None = None) -> str:
        """Returns an empty id: there are no runs."""
        return ""
