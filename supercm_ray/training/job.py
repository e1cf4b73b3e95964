"""One training run from its start or last checkpoint to its end, in one process or on each of several workers."""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from supercm_ray.config import Config, import_plugins
from supercm_ray.core import broadcast_object, rank
from supercm_ray.data import Dataset, DeviceData, Splits, standardised
from supercm_ray.records import BEST, LAST, Checkpoints, CheckpointStore, EpochMetrics, Marker, Predictions
from supercm_ray.training.checkpoint import deserialize, serialize
from supercm_ray.training.evaluate import evaluate
from supercm_ray.training.loop import fit
from supercm_ray.training.state import TrainState, choose_device
from supercm_ray.training.system_metrics import SystemMetrics


@dataclass(frozen=True)
class Job:
    """The complete description of a run, whatever executor it runs on.

    Attributes:
        storage: the folder or URI of its checkpoints; the first worker reads and writes them.
        marker: the file by which that worker tells whether the storage is shared with the process that runs the study;
            None if it surely is. If it is not, the checkpoints come back as a message after the last epoch.
        keeps_model: whether the run's model is used later; otherwise its checkpoints are of no use once it has ended.
        best_by: the metric and its direction by which the best checkpoint is kept; None keeps the last alone.
        evaluate_test: whether the run reads the test split, if there is one, after its last epoch.
    """

    config: Config
    dataset: Dataset
    splits: Splits
    storage: str
    marker: Marker | None = None
    keeps_model: bool = True
    best_by: tuple[str, str] | None = None
    evaluate_test: bool = False

    @cached_property
    def prepared(self) -> Dataset:
        """The data set with the statistics that its inputs are standardised with."""
        return standardised(self.dataset, self.splits, self.config.data)


def train_job(job: Job) -> Iterator[EpochMetrics | Checkpoints | Predictions]:
    """Trains from the last checkpoint, if there is one, and saves checkpoints.

    On several workers each runs this; the first reads and writes the checkpoints, and all yield the same.

    Yields:
        The metrics of every epoch from the first, those before the checkpoint from its history; then the checkpoints,
        if the storage is not shared, and, under `evaluate_test`, the predictions.

    Raises:
        CheckpointError: if the checkpoint is broken or another run's, or cannot be written.
        DivergedError: if the loss is no longer a number.
    """
    device = prepare_process(job.config)
    importlib.import_module("sklearn.metrics")  # a second that is no part of the first epoch
    checkpointer = _Checkpointer(job)
    try:
        state = checkpointer.resume(device)
        data = DeviceData.of(job.prepared, job.splits, device)
        for metrics in itertools.chain(list(state.history), _train(state, data, checkpointer, SystemMetrics(device))):
            yield EpochMetrics(
                int(metrics["epoch"]), {name: value for name, value in metrics.items() if name != "epoch"}
            )
        yield from checkpointer.after_run(state.epoch)
        if job.evaluate_test:
            yield _predictions(state, data)
    finally:
        checkpointer.close()


def prepare_process(config: Config) -> torch.device:
    """Imports plug-ins, sets the number of threads, and returns the device to train on."""
    import_plugins(config.plugins)
    torch.set_num_threads(config.training.num_threads)
    return choose_device(config.training.device)


def _train(
    state: TrainState, data: DeviceData, checkpointer: _Checkpointer, system: SystemMetrics
) -> Iterator[dict[str, float]]:
    """Trains, and adds to the metrics of an epoch those of the machines."""
    for _ in fit(state, data):
        state.history[-1] |= system.measure()
        checkpointer.after_epoch(state)
        yield state.history[-1]


class _Checkpointer:
    """Reads and writes a job's checkpoints, on the first worker alone."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = CheckpointStore(job.storage) if rank() == 0 else None
        self._written_at = time.monotonic()

    def resume(self, device: torch.device) -> TrainState:
        self._check_kept()
        content = broadcast_object(self._store.read() if self._store else None)
        config, dataset, num_unlabeled = self._job.config, self._job.prepared, len(self._job.splits.unlabeled)
        if content is None:
            return TrainState.create(config, dataset, device, num_unlabeled)
        return deserialize(content, f"{self._job.storage}/{LAST}", config, dataset, device, num_unlabeled)

    def after_epoch(self, state: TrainState) -> None:
        if self._store is None:
            return
        is_last = state.epoch == self._job.config.training.num_epochs
        names = [LAST] if is_last or self._is_due(state) else []
        names += [BEST] if self._is_best(state.history) else []
        if names:
            self._check_kept()
            self._store.write(serialize(state), *names)
            self._written_at = time.monotonic()
        if is_last:
            self._store.wait()

    def _check_kept(self) -> None:
        """Checks, before anything is written, that the disk of the study is not gone."""
        if self._store is not None and self._job.marker is not None:
            self._job.marker.check_kept()

    def after_run(self, epoch: int) -> Iterator[Checkpoints]:
        """Hands over or removes what this node alone has."""
        if self._store is None or self._job.marker is None or self._job.marker.is_present():
            return
        if not self._job.keeps_model:
            self._store.clear()
            return
        found = {name: self._store.read(name) for name in (LAST, BEST)}
        yield Checkpoints(epoch, {name: content for name, content in found.items() if content is not None})

    def _is_due(self, state: TrainState) -> bool:
        training = self._job.config.training
        seconds = training.checkpoint_interval_s
        return state.epoch % training.checkpoint_interval_epochs == 0 or (
            seconds is not None and time.monotonic() - self._written_at >= seconds
        )

    def _is_best(self, history: list[dict[str, float]]) -> bool:
        if self._job.best_by is None:
            return False
        metric, direction = self._job.best_by
        sign = 1 if direction == "maximize" else -1
        values = [sign * metrics[metric] for metrics in history]
        return all(values[-1] > value for value in values[:-1])

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


def _predictions(state: TrainState, data: DeviceData) -> Predictions:
    """Evaluates the validation split and, if there is one, the test split."""
    arrays = {"val_confusion": evaluate(state.ema_model, data, data.val).confusion}
    if not len(data.test):
        return Predictions(state.epoch, {}, {name: values.cpu().numpy() for name, values in arrays.items()})
    test = evaluate(state.ema_model, data, data.test)
    arrays |= {
        "confusion": test.confusion,
        "features": test.features,
        "labels": test.labels,
        "predictions": test.predictions,
        "centroids": state.centroids.value.detach(),
        "seen": state.centroids.seen,
    }
    found = {name: values.cpu().numpy() for name, values in arrays.items()}
    return Predictions(state.epoch, test.metrics("test"), found)
