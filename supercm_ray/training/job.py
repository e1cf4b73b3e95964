"""One training run from its first or last checkpoint to its end, in one process or on each of several workers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from supercm_ray.config import Config
from supercm_ray.core import from_first, rank
from supercm_ray.data import Dataset, DeviceData, Splits
from supercm_ray.plugins import import_plugins
from supercm_ray.training.checkpoint import pack, unpack
from supercm_ray.training.evaluate import evaluate
from supercm_ray.training.loop import fit
from supercm_ray.training.state import TrainState, choose_device
from supercm_ray.training.store import BEST, LAST, CheckpointStore

OUTCOME = "outcome"
"""The key in the last message of a job that opens the test split: what was found there, as arrays by name."""


@dataclass(frozen=True)
class Job:
    """What a run is made of, wherever it runs.

    Attributes:
        storage: the folder or URI of its checkpoints; with several workers all must reach it, or the first alone does.
        best_by: the metric and its direction by which the best checkpoint is kept; None keeps the last alone.
        open_test: whether the run reads the test split after its last epoch.
    """

    config: Config
    dataset: Dataset
    splits: Splits
    storage: str
    best_by: tuple[str, str] | None = None
    open_test: bool = False


def train_job(job: Job) -> Iterator[dict[str, Any]]:
    """Trains, from the last checkpoint where there is one, and keeps checkpoints.

    On several workers each runs this; the first reads and writes the checkpoints, and all yield the same.

    Yields:
        The metrics of every epoch from the first, those before the checkpoint from its history. Where the test split is
        opened the last also holds `test/accuracy`, `test/loss` and, under OUTCOME, arrays: confusion, features,
        labels, predictions, centroids, seen.

    Raises:
        CheckpointError: where the checkpoint is broken or another run's, or cannot be written.
        DivergedError: where the loss is no longer a number.
    """
    device = prepare_process(job.config)
    keeper = _Keeper(job)
    try:
        state = keeper.resume(device)
        data = DeviceData.of(job.dataset, job.splits, device)
        for metrics in itertools.chain(list(state.history), _train(state, data, keeper)):
            is_last = metrics["epoch"] == job.config.training.num_epochs
            yield {**metrics, **(_open_test(state, data) if is_last and job.open_test else {})}
    finally:
        keeper.close()


def prepare_process(config: Config) -> torch.device:
    """Sets this process up to train, plug-ins with it, and returns the device it trains on."""
    import_plugins(config)
    torch.set_num_threads(config.training.num_threads)
    return choose_device(config.training.device)


def _train(state: TrainState, data: DeviceData, keeper: _Keeper) -> Iterator[dict[str, float]]:
    for metrics in fit(state, data):
        keeper.after_epoch(state)
        yield metrics


class _Keeper:
    """Reads and writes a job's checkpoints, on the first worker alone."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = CheckpointStore(job.storage) if rank() == 0 else None
        self._written_at = time.monotonic()

    def resume(self, device: torch.device) -> TrainState:
        content = from_first(self._store.read() if self._store else None)
        if content is None:
            return TrainState.create(self._job.config, self._job.dataset, device)
        return unpack(content, f"{self._job.storage}/{LAST}", self._job.config, self._job.dataset, device)

    def after_epoch(self, state: TrainState) -> None:
        if self._store is None:
            return
        is_last = state.epoch == self._job.config.training.num_epochs
        names = [LAST] if is_last or self._is_due(state) else []
        names += [BEST] if self._is_best(state.history) else []
        if names:
            self._store.write(pack(state), *names)
            self._written_at = time.monotonic()
        if is_last:
            self._store.wait()

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


def _open_test(state: TrainState, data: DeviceData) -> dict[str, Any]:
    test = evaluate(state.average, data, data.test)
    arrays = {
        "confusion": test.confusion,
        "features": test.features,
        "labels": test.labels,
        "predictions": test.predictions,
        "centroids": state.centroids.value.detach(),
        "seen": state.centroids.seen,
    }
    outcome = {name: values.cpu().numpy() for name, values in arrays.items()}
    return {"test/accuracy": test.accuracy, "test/loss": test.loss, OUTCOME: outcome}
