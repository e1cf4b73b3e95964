"""The tracker of a study that is not tracked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supercm_ray.records import Status
from supercm_ray.tracking.tracker import TrackedModel


class NullTracker:
    """Keeps nothing."""

    uri = ""
    how_to_open = ""

    def open_study(self) -> str:
        """Empty: there is no parent run."""
        return ""

    def attach_study(self) -> bool:
        """Never open."""
        return False

    def sync(self, key: str) -> None:
        """No-op."""

    def sync_all(self) -> None:
        """No-op."""

    def close_study(self, status: Status) -> None:
        """No-op."""

    def log_files(self, files: Mapping[Path, str]) -> None:
        """No-op."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """No-op."""

    def log_model(self, model: TrackedModel, under: str | None = None) -> str:
        """Empty: models are not kept."""
        return ""

    def run_id(self, key: str | None = None) -> str:
        """Empty: there are no runs."""
        return ""
