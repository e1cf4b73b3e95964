"""The interface between a study and experiment tracking tools. A tracker copies records, and no
result depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from supercm_ray.config import Registry, Study
from supercm_ray.records import RunView, SplitDigest, Status, StudyFolder


@dataclass(frozen=True)
class TrackedModel:
    """A trained model that trackers may store.

    Attributes:
        run: the key of the run that trained it.
        name: the name of the model.
        load: loads it, once however often it is called; maps a tensor like `example` to class probabilities.
        example: at least two inputs (N, ...), so that the number of inputs stays variable.
        save: writes the whole model to a folder, from which `supercm_ray.load_model` reads it.
        class_names: names of the classes, by class index.
    """

    run: str
    name: str
    load: Callable[[], nn.Module]
    example: npt.NDArray[np.generic]
    save: Callable[[Path], None]
    class_names: tuple[str, ...]


class Tracker(Protocol):
    """Copies the runs of one study to one tool: a parent for the study and a child for each run folder.

    A tracker is created from the study and its folder, and reads what it writes from the records there. Any method may
    raise anything: `BackgroundTracker` guards every tracker, so a tracker needs neither guards nor retries. Every
    method may be called again, also by another process after a kill, and writes nothing twice.
    """

    @property
    def uri(self) -> str:
        """Address at which the study is tracked, empty if there is none."""

    @property
    def how_to_open(self) -> str:
        """The commands or addresses that show the study, without credentials, one a line; empty if there are none."""

    def open_study(self) -> str:
        """Finds or creates the parent run, sets it running, and returns its id.

        Raises:
            TrackingError: if the tool cannot be used.
        """

    def attach_study(self) -> bool:
        """Finds or creates the parent run without changing its status, and returns whether it is open, so that it must
        be closed if no process is running the study.
        """

    def sync(self, key: str) -> None:
        """Writes what the tool lacks of the run with this key: parameters, epochs, summary and status."""

    def sync_all(self) -> None:
        """Writes what the tool lacks of any run of the study."""

    def close_study(self, status: Status) -> None:
        """Closes the parent run, if one was opened or attached."""

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files under the parent run, each in the folder that it maps to (empty for the root)."""

    def log_note(self, text: str) -> None:
        """Replaces the description of the study, Markdown, under the parent run."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Stores metrics of the whole study under the parent run, for comparing studies.

        Args:
            metrics: values by name.
            step: where they stand on the axis of a plot, such as a number of labels.
        """

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Stores a model under the run that trained it, unless it is there.

        Args:
            model: the model.
            is_best: whether it is the study's best, which the parent run then names.

        Returns:
            Its URI, empty if this tool stores no models.
        """

    def register_model(self, uri: str, name: str) -> str:
        """Makes a stored model a version of the registered model with this name, unless it is one.

        Returns:
            The version, empty if this tool has no registry.
        """

    def run_id(self, key: str | None = None) -> str:
        """Returns the tool's id of the run with this key, or of the parent run; empty if there is none."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker has it.

    Attributes:
        run: its record, without overrides, and the metrics of its last epoch.
        study: the name of its study.
        study_id: the identity of its study's folder.
        digests: the digests of its splits by use.
    """

    run: RunView
    study: str
    study_id: str
    digests: Mapping[str, SplitDigest]


class TrackerFactory(Protocol):
    """A function or class that creates a tracker."""

    def __call__(self, study: Study, folder: StudyFolder) -> Tracker:
        """Creates the tracker of a study.

        Raises:
            TrackingError: if the tool cannot be used.
        """


TRACKERS: Registry[TrackerFactory] = Registry("tracker", "tracking", "supercm_ray.tracking.trackers")
"""Trackers by name: `mlflow`, `tensorboard`, `none`, and those of plug-ins."""
