"""The seam between a study and the tools that show experiments: a tracker copies records, and nothing depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from supercm_ray.config import Registry, Study
from supercm_ray.records import Status, StudyFolder


@dataclass(frozen=True)
class TrackedModel:
    """A trained model that trackers may keep.

    Attributes:
        run: the key of the run that trained it.
        name: what to call it.
        load: loads it, once however often it is called; maps a float32 tensor shaped like `example` to a tensor.
        example: at least two inputs (N, ...), so that the number of inputs stays free.
    """

    run: str
    name: str
    load: Callable[[], nn.Module]
    example: npt.NDArray[np.float32]


class Tracker(Protocol):
    """The runs of one study in one tool: a parent for the study and a child for each run folder.

    It is made from the study and its folder, and reads what it writes from the records there. Any method may raise
    anything: whoever holds a tracker guards it (`BackgroundTracker`), so that neither guards nor retries belong here.
    Every method may be called again, also by another process after a kill, and writes nothing twice.
    """

    @property
    def uri(self) -> str:
        """Where the study is tracked, empty for nowhere."""

    @property
    def how_to_open(self) -> str:
        """The command or address that shows the study, without credentials; empty for none. One line for each tool."""

    def open_study(self) -> str:
        """Finds or makes the parent run, sets it running, and returns its id.

        Raises:
            TrackingError: where the tool cannot be used.
        """

    def attach_study(self) -> bool:
        """Finds or makes the parent run and leaves its status as it is; whether it is open, so that it is to be closed
        where no process is at work.
        """

    def sync(self, key: str) -> None:
        """Writes what the tool lacks of the run with this key: parameters, epochs, summary and status."""

    def sync_all(self) -> None:
        """Writes what the tool lacks of any run of the study."""

    def close_study(self, status: Status) -> None:
        """Closes the parent run, where one was opened or attached."""

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files under the parent run, each in the folder that it maps to (empty for the root)."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Stores numbers of the whole study under the parent run, for comparing studies."""

    def log_model(self, model: TrackedModel, under: str | None = None) -> str:
        """Stores a model, unless that of the same run is there already, under the run with this key or the parent run.

        Returns:
            Its address, empty where this tool keeps no models.
        """

    def run_id(self, key: str | None = None) -> str:
        """The tool's id of the run with this key, or of the parent run; empty where it has none."""


class TrackerFactory(Protocol):
    """What makes a tracker."""

    def __call__(self, study: Study, folder: StudyFolder) -> Tracker:
        """The tracker of a study.

        Raises:
            TrackingError: where the tool cannot be used.
        """


TRACKERS: Registry[TrackerFactory] = Registry("tracker", "tracking", "supercm_ray.tracking.trackers")
"""Trackers by name: `mlflow`, `tensorboard`, `none`, and those of plug-ins."""
