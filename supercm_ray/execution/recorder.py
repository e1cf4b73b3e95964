"""Records what runs report, and notifies callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from supercm_ray.config import Study
from supercm_ray.credentials import without_credentials
from supercm_ray.data import Dataset, Splits, split_dataset
from supercm_ray.errors import DamagedError, SuperCMError
from supercm_ray.execution.executor import Run
from supercm_ray.execution.place import Place
from supercm_ray.execution.study_log import note
from supercm_ray.inference import describe, write_card
from supercm_ray.records import (
    LAST,
    Checkpoints,
    CheckpointStore,
    EpochMetrics,
    Kind,
    Message,
    Predictions,
    RunFailed,
    RunRecord,
    SessionNode,
    Status,
    StudyFolder,
    now_ms,
    writing,
)

logger = logging.getLogger(__name__)


class Callback(Protocol):
    """A callback that follows the progress of a study."""

    def on_phase(self, name: str, total: int, before: Sequence[tuple[RunRecord, dict[str, float]]]) -> None:
        """Called when a phase of `total` runs begins; `before` are those started before a resumption, with the metrics
        of their last epoch.
        """

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        """Called when a run begins, has reported the metrics of an epoch, or has ended."""

    def on_place(self, where: str, results: str, tracking: str) -> None:
        """Called with the lines that say where runs are executed, where their records lie, and where they are tracked,
        which is empty if they are not; a callback may lack it.
        """

    def on_result(self, text: str) -> None:
        """Called with the result as text, before trackers are told of it; a callback may lack it."""


class NullCallback:
    """A callback that does nothing."""

    def on_phase(self, name: str, total: int, before: Sequence[tuple[RunRecord, dict[str, float]]]) -> None:
        """No-op."""

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        """No-op."""

    def on_place(self, where: str, results: str, tracking: str) -> None:
        """No-op."""

    def on_result(self, text: str) -> None:
        """No-op."""


@dataclass(frozen=True)
class Recorder:
    """The writer of the records of a study's runs.

    Attributes:
        changed: called with the key of each run whose record has changed.
    """

    study: Study
    folder: StudyFolder
    dataset: Dataset
    callback: Callback
    changed: Callable[[str], None]

    def phase(self, name: str, total: int, records: Iterable[RunRecord | None]) -> None:
        """Tells the callback that a phase begins, of which these records exist already."""
        known = [(record, self.folder.run(record.key).history()) for record in records if record is not None]
        num_ended = sum(not record.is_open for record, _ in known)
        note(self.folder, "phase", f"{name}: {total} runs, {num_ended} of them have ended")
        self._note(lambda: self.folder.session_file.note_phase(name, total, num_ended))
        self.callback.on_phase(name, total, [(record, history[-1] if history else {}) for record, history in known])

    def show(self, text: str) -> None:
        """Tells the callback the result, before trackers are told of it."""
        on_result = getattr(self.callback, "on_result", None)  # which callbacks of earlier versions lack
        if on_result is not None:
            on_result(text)

    def begin(self, run: Run) -> Run:
        """Writes the record, splits and model card of a run, or reopens those of an interrupted one, and returns it
        with its splits.
        """
        self.folder.check_present()
        place = self.folder.run(run.key)
        with writing(place.path):
            place.path.mkdir(parents=True, exist_ok=True)
        record, splits = place.record(), self.splits(run)
        if record is None:
            config = self.study.base.replace(run.overrides)
            record = RunRecord(
                key=run.key,
                kind=run.kind,
                overrides=dict(run.overrides),
                params=config.leaves(),
                label_budget=splits.label_budget,
                num_labeled=len(splits.labeled),
                num_unlabeled=len(splits.unlabeled),
                labels=dict(run.labels),
                started_ms=now_ms(),
            )
        if not place.card.exists():
            config = self.study.base.replace(run.overrides)
            write_card(place.card, describe(config, self.dataset, f"{self.folder.path.name}/{run.key}"))
        place.cut_damaged_lines()
        num_epochs = place.num_epochs()
        note(self.folder, "run", f"{run.key} " + (f"goes on after epoch {num_epochs}" if num_epochs else "begins"))
        self._write(replace(record, status="running", reason="", by_process=False, preempted=False, ended_ms=None))
        return replace(run, splits=splits.serialize())

    def splits(self, run: Run) -> Splits:
        """Returns the splits of a run, which are stored if they are missing or damaged."""
        path = self.folder.run(run.key).splits
        if path.exists():
            try:
                return Splits.load(path)
            except DamagedError as error:
                logger.warning("%s; it is written anew", error)
        made = split_dataset(self.dataset, self.study.base.replace(run.overrides))
        made.save(path)
        return made

    def take(self, key: str, message: Message) -> None:
        """Records a message of a run. No-op for an epoch that was recorded before."""
        run = self.folder.run(key)
        record = run.known_record()
        if isinstance(message, EpochMetrics):
            metrics = {"epoch": message.epoch, **message.metrics}
            if run.append(metrics):
                self.changed(key)
                self.callback.on_run(record, metrics)
        elif isinstance(message, Checkpoints):
            with closing(CheckpointStore(self._storage(record))) as store:
                for name, content in message.files.items():
                    store.write(content, name)
        elif isinstance(message, Predictions):
            run.save_test_predictions(message.arrays)
            run.write(replace(record, summary={**record.summary, **message.metrics}))

    def end(
        self, key: str, status: Status, failure: RunFailed | None = None, *, summary: dict[str, float] | None = None
    ) -> None:
        """Closes a run, with the reason if it failed or was stopped."""
        record = self.folder.run(key).known_record()
        reason, by_process = (failure.reason, failure.by_process) if failure else ("", False)
        if failure and failure.traceback:
            self.folder.run(key).save_traceback(failure.traceback)
        self._write(replace(record.ended(status, reason, summary), by_process=by_process))

    def clear(self, kind: Kind) -> None:
        """Deletes the checkpoints of trials or candidates once none is left to run, since only finalists' models are
        used later.
        """
        for record in self.folder.runs(kind):
            if record.status in ("complete", "pruned"):
                CheckpointStore(self._storage(record)).clear()

    def copy_checkpoint(self, source: str, key: str) -> None:
        """Copies the last checkpoint of a run to one of the same configuration, which goes on from there, unless that
        one has a checkpoint or there is none to copy.
        """
        storage_path = self.study.base.training.storage_path
        with closing(CheckpointStore(self.folder.storage(key, storage_path))) as store:
            if store.read(LAST) is not None:
                return
            content = CheckpointStore(self.folder.storage(source, storage_path)).read(LAST)
            if content is None:
                logger.warning("%s has no checkpoint any more, so %s is trained from the start", source, key)
            else:
                store.write(content, LAST)

    def interrupt(self, reason: str, *, preempted: bool = False) -> None:
        """Closes every run that is still open.

        Args:
            reason: what ended it, and what resumes it.
            preempted: whether a cluster ended it, or a request to end.
        """
        for record in self.folder.runs():
            if record.status == "running":
                self._write(replace(record.ended("interrupted", without_credentials(reason)), preempted=preempted))

    def placed(self, place: Place, tracking_uri: str) -> None:
        """Notes where the study runs, and tells the callback that and where its results and tracked runs are."""
        self._note(lambda: self.folder.update_session(where=place.where, nodes=place.nodes))
        on_place = getattr(self.callback, "on_place", None)  # which callbacks of earlier versions lack
        if on_place is not None:
            on_place(place.where, str(self.folder.path.resolve()), without_credentials(tracking_uri))

    def nodes(self, nodes: Sequence[SessionNode]) -> None:
        """Notes the machines that the study runs on, for those who look from elsewhere. May be called in any thread."""
        self._note(lambda: self.folder.update_session(nodes=nodes))

    def _note(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SuperCMError as error:  # nothing depends on it
            logger.warning("%s", error)

    def _storage(self, record: RunRecord) -> str:
        return self.folder.storage(record.key, self.study.base.training.storage_path)

    def _write(self, record: RunRecord) -> None:
        self.folder.run(record.key).write(record)
        if record.status != "running":
            note(self.folder, "run", f"{record.key} {record.how}")
        self.changed(record.key)
        self.callback.on_run(record, None)
