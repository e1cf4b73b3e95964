"""Several trackers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from supercm_ray.records import Status
from supercm_ray.tracking.tracker import TrackedModel, Tracker

T = TypeVar("T")


class CompositeTracker:
    """Passes every call to each of several trackers, even if one of them fails."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Combines trackers; ids and addresses are those of the first one that has any."""
        self._trackers = list(trackers)

    @property
    def uri(self) -> str:
        """The address of the first tracker that has one."""
        return _first(self._each(lambda tracker: tracker.uri))

    @property
    def how_to_open(self) -> str:
        """A line for each tracker that can be opened."""
        return "\n".join(filter(None, self._each(lambda tracker: tracker.how_to_open)))

    def open_study(self) -> str:
        """Opens the study in all trackers."""
        return _first(self._each(lambda tracker: tracker.open_study()))

    def attach_study(self) -> bool:
        """Finds the study in all trackers and returns whether it is open in any."""
        return any(self._each(lambda tracker: tracker.attach_study()))

    def sync(self, key: str) -> None:
        """Writes what any tracker lacks of a run."""
        self._each(lambda tracker: tracker.sync(key))

    def sync_all(self) -> None:
        """Writes what any tracker lacks."""
        self._each(lambda tracker: tracker.sync_all())

    def close_study(self, status: Status) -> None:
        """Closes the study in all trackers."""
        self._each(lambda tracker: tracker.close_study(status))

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files in all trackers."""
        self._each(lambda tracker: tracker.log_files(files))

    def log_note(self, text: str) -> None:
        """Stores the description in all trackers."""
        self._each(lambda tracker: tracker.log_note(text))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Stores metrics in all trackers."""
        self._each(lambda tracker: tracker.log_metrics(metrics, step))

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Stores a model in all trackers that keep models."""
        return _first(self._each(lambda tracker: tracker.log_model(model, is_best=is_best)))

    def register_model(self, uri: str, name: str) -> str:
        """Registers a model in all trackers that have a registry."""
        return _first(self._each(lambda tracker: tracker.register_model(uri, name)))

    def run_id(self, key: str | None = None) -> str:
        """Returns the first tracker's id."""
        return _first(self._each(lambda tracker: tracker.run_id(key)))

    def _each(self, call: Callable[[Tracker], T]) -> list[T]:
        """Returns the results of a call for each tracker.

        Raises:
            Exception: the first exception that a tracker raised, after all were called.
        """
        found: list[T] = []
        errors: list[Exception] = []
        for tracker in self._trackers:
            try:
                found.append(call(tracker))
            except Exception as error:  # of any kind; the others are to be called all the same
                errors.append(error)
        if errors:
            raise errors[0]
        return found


def _first(values: Sequence[str]) -> str:
    return next(filter(None, values), "")
