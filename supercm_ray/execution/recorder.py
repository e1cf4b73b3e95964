"""From Ray Tune's events to records on disk, and from there to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial

from supercm_ray.config import Study
from supercm_ray.data import Dataset, split_dataset
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.records import CheckpointStore, Kind, RunRecord, StudyFolder, now_ms
from supercm_ray.runtime.tune_trainable import FAILURE, PROCESS_FAILED, outcome


class Callback(Protocol):
    """Who wants to know how a study comes along."""

    def on_phase(self, name: str, total: int, before: Sequence[tuple[RunRecord, dict[str, float]]]) -> None:
        """A phase begins that is `total` runs in all; `before` are those begun before a resumption, with the metrics
        of their last epoch.
        """

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        """A run began, reported the metrics of an epoch, or came to its end."""


class NullCallback:
    """A callback that keeps quiet."""

    def on_phase(self, name: str, total: int, before: Sequence[tuple[RunRecord, dict[str, float]]]) -> None:
        """Nothing."""

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Recorder:
    """Keeps the records of a study's runs.

    Attributes:
        changed: told the key of each run whose record changed.
    """

    study: Study
    folder: StudyFolder
    dataset: Dataset
    callback: Callback
    changed: Callable[[str], None]

    def phase(self, name: str, total: int, records: Iterable[RunRecord | None]) -> None:
        """Tells the callback that a phase begins, of which these records are there already."""
        known = [(record, self.folder.run(record.key).history()) for record in records if record is not None]
        self.callback.on_phase(name, total, [(record, history[-1] if history else {}) for record, history in known])

    def begin(self, key: str, kind: Kind, overrides: dict[str, Any], labels: dict[str, Any]) -> None:
        """Writes the record and the splits of a run, or takes up those of a run that was cut off."""
        run = self.folder.run(key)
        record = run.record()
        if record is None:
            config = self.study.base.replace(overrides)
            splits = split_dataset(self.dataset, config)
            run.path.mkdir(parents=True, exist_ok=True)
            splits.save(run.splits)
            record = RunRecord(
                key=key,
                kind=kind,
                overrides=overrides,
                params=config.leaves(),
                label_budget=splits.label_budget,
                labels=labels,
                started_ms=now_ms(),
            )
        self._write(replace(record, status="running", reason="", ended_ms=None))

    def epoch(self, key: str, metrics: dict[str, float]) -> None:
        """Adds the metrics of an epoch, unless they came before."""
        run = self.folder.run(key)
        record = run.record()
        if record is not None and run.append(metrics):
            self.changed(key)
            self.callback.on_run(record, metrics)

    def end(self, key: str, status: Any, reason: str = "", summary: dict[str, float] | None = None) -> None:
        """Closes a run."""
        run = self.folder.run(key)
        record = run.record()
        if record is None:
            return
        self._write(record.ended(status, reason, summary))

    def clear_trials(self) -> None:
        """Takes away the checkpoints of trials at their end, since only finalists' models are used further."""
        for record in self.folder.runs("trial"):
            if record.status in ("complete", "pruned"):
                storage = self.folder.storage(record.key, self.study.base.training.storage_path)
                CheckpointStore(storage).clear()

    def interrupt(self) -> None:
        """Closes every run that is still open."""
        for record in self.folder.runs():
            if record.status == "running":
                self._write(record.ended("interrupted", "stopped from outside; the same command resumes it"))

    def _write(self, record: RunRecord) -> None:
        self.folder.run(record.key).write(record)
        self.changed(record.key)
        self.callback.on_run(record, None)


class RecorderCallback(tune.Callback):
    """Passes Tune's events on to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        """Args: the recorder."""
        self._recorder = recorder

    def __getstate__(self) -> dict[str, Any]:
        """Nothing for Tune's own snapshots, which are never restored: what there is to know is in the records."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's loop goes round."""
        check_interrupt()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch was reported."""
        if FAILURE not in result:
            self._recorder.epoch(trial.config["run"], _metrics(result))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A run came to its end, was stopped early, or said why it could not go on."""
        key, result = trial.config["run"], trial.last_result or {}
        if not result:
            self._recorder.end(key, "failed", PROCESS_FAILED)
            return
        status, reason = outcome(self._recorder.study, trial.config["overrides"], result)
        test = {name: value for name, value in _metrics(result).items() if name.startswith("test/")}
        self._recorder.end(key, status, reason, test if status == "complete" else None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The worker process died or raised."""
        error = str(trial.get_pickled_error() or trial.get_error() or "it died").strip().splitlines()[-1]
        self._recorder.end(trial.config["run"], "failed", f"{PROCESS_FAILED}: {error}")


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """The figures of this package in a result of Tune's, without those that Tune adds."""
    ours = ("train/", "val/", "target/", "test/", "oracle/")
    return {
        name: float(value)
        for name, value in result.items()
        if name in ("epoch", "epoch_seconds") or name.startswith(ours)
    }
