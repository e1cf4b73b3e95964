"""The TensorBoard tracker: writes event files below each run's folder from the records."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from supercm_ray.config import Study
from supercm_ray.records import RunRecord, RunView, Status, StudyFolder
from supercm_ray.tracking.tracker import TrackedModel

_FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes the scalars of each epoch, and the configuration, summary and status of each run that has ended.

    When a process writes a run for the first time it replaces the run's event files, so that after a kill each epoch is
    there once, whatever the files held.
    """

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        """Stores the study's folder, whose runs are written."""
        self._folder = folder
        self.uri = str(folder.path.resolve())
        self.how_to_open = f"tensorboard --logdir {shlex.quote(self.uri)}"
        self._writers: dict[str, SummaryWriter] = {}
        self._written: dict[str, int] = {}
        self._ended: dict[str, RunRecord] = {}
        self._of_study: dict[tuple[str, int], float] = {}

    def open_study(self) -> str:
        """Returns the study's folder; TensorBoard stores no status of a study."""
        return self.run_id()

    def attach_study(self) -> bool:
        """Returns False: TensorBoard stores no status of a study."""
        return False

    def sync(self, key: str) -> None:
        """Writes new epochs, and the summary of a run that has ended."""
        run = self._folder.run(key).view()
        if run is not None:
            self._sync(run)

    def _sync(self, run: RunView) -> None:
        key = run.record.key
        if self._ended.get(key) == run.record and self._written[key] == run.num_epochs:
            return
        if key not in self._writers:
            self._writers[key], self._written[key] = _new_writer(Path(self.run_id(key))), 0
        self._write_epochs(key, run)
        if run.record.status != "running":
            self._write_end(key, run)

    def sync_all(self) -> None:
        """Writes what is missing of any run."""
        for run in self._folder.views():
            self._sync(run)

    def close_study(self, status: Status) -> None:
        """Closes the event files of open runs."""
        for key in list(self._writers):
            self._writers.pop(key).close()

    def log_files(self, files: Mapping[Path, str]) -> None:
        """No-op: TensorBoard stores no files."""

    def log_note(self, text: str) -> None:
        """No-op: TensorBoard has no description of a study."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Replaces the metrics of the whole study, those of this process that came before among them."""
        self._of_study |= {(name, step): value for name, value in metrics.items()}
        writer = _new_writer(Path(self.run_id()))
        for (name, at), value in self._of_study.items():
            writer.add_scalar(name, value, at)
        writer.close()

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Returns an empty URI: TensorBoard stores no models."""
        return ""

    def register_model(self, uri: str, name: str) -> str:
        """Returns an empty version: TensorBoard has no registry."""
        return ""

    def run_id(self, key: str | None = None) -> str:
        """Returns the folder of the event files, below the run's own."""
        place = self._folder.path if key is None else self._folder.run(key).path
        return str(place.resolve() / _FOLDER)

    def _write_epochs(self, key: str, run: RunView) -> None:
        writer = self._writers[key]
        for metrics in run.history:
            epoch = int(metrics["epoch"])
            if epoch > self._written[key]:
                for name, value in metrics.items():
                    if name not in ("epoch", "timestamp_ms"):
                        writer.add_scalar(name, value, epoch, metrics["timestamp_ms"] / 1000)
        writer.flush()
        self._written[key] = run.num_epochs

    def _write_end(self, key: str, run: RunView) -> None:
        writer, record = self._writers.pop(key), run.record
        final = {f"final/{name}": value for name, value in {**run.metrics, **record.summary}.items() if "/" in name}
        params = {name: _hparam(value) for name, value in record.params.items()}
        writer.add_hparams(params, final, run_name=".", global_step=run.num_epochs)
        writer.add_text("status", f"{record.status}: {record.reason}".rstrip(": "), run.num_epochs)
        writer.close()
        self._ended[key] = record


def _new_writer(folder: Path) -> SummaryWriter:
    """Creates a writer into a folder whose former event files are deleted; TensorBoard is told to forget them."""
    for former in folder.glob("events.out.tfevents.*"):
        former.unlink()
    return SummaryWriter(str(folder), purge_step=0)


def _hparam(value: object) -> str | int | float:
    return value if isinstance(value, int | float) else str(value)
