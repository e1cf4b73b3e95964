"""One training run inside a Ray worker process, an epoch a call; the process serves one run after the other."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune

from supercm_ray.config import Config
from supercm_ray.data import Dataset, DeviceData
from supercm_ray.data.splits import Splits
from supercm_ray.errors import CheckpointError, SuperCMError
from supercm_ray.records import RunFolder, Status
from supercm_ray.search import objective_values
from supercm_ray.study import Study
from supercm_ray.training import TrainState, choose_device, evaluate, fit, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

FAILURE = "failure"
"""The key of a result that says why the run failed."""

PROCESS_FAILED = "the worker process failed"
"""How the reason begins of a run that failed by its process and not by what it computed."""


def outcome(study: Study, assignments: dict[str, Any], result: dict[str, Any]) -> tuple[Status, str]:
    """How a run ended whose last result this is, and why: what Optuna is told and what its record says alike."""
    if FAILURE in result:
        return "failed", str(result[FAILURE])
    epoch, num_epochs = result["epoch"], study.base.training.num_epochs
    values = objective_values(study, {**study.base.leaves(), **assignments}, result)
    if not all(math.isfinite(value) for value in values):
        return "failed", f"the objective is not a number in epoch {epoch}: {values}"
    if epoch < num_epochs:
        return "pruned", f"stopped early after epoch {epoch} of {num_epochs}"
    return "complete", ""


class Run:
    """A training run with its folder: resumed where a checkpoint lies there, checkpointed as it goes.

    Iterating gives the metrics of every epoch from the first, those before the checkpoint from its history.
    """

    def __init__(self, folder: RunFolder, config: Config, dataset: Dataset) -> None:
        """Args: the run's folder, which holds its splits, its configuration and its data."""
        self.folder, self.config = folder, config
        device = choose_device(config.training.device)
        self.state = _resume(folder, config, dataset, device)
        self.data = DeviceData.of(dataset, Splits.load(folder.splits), device)

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Yields the metrics of each epoch; see `fit`."""
        return itertools.chain(list(self.state.history), self._train())

    def _train(self) -> Iterator[dict[str, float]]:
        training = self.config.training
        for metrics in fit(self.state, self.data):
            if self.state.epoch % training.checkpoint_interval_epochs == 0 or self.state.epoch == training.num_epochs:
                save_checkpoint(self.folder.checkpoint, self.state)
            yield metrics

    def open_test(self) -> dict[str, float]:
        """Reads the test split, keeps what was found there in the folder, and returns its figures."""
        test = evaluate(self.state.average, self.data, self.data.test)
        partial = self.folder.outcome.with_name("outcome.partial.npz")
        np.savez_compressed(
            partial,
            confusion=test.confusion.cpu().numpy(),
            features=test.features.cpu().numpy(),
            labels=test.labels.cpu().numpy(),
            predictions=test.predictions.cpu().numpy(),
            centroids=self.state.centroids.value.detach().cpu().numpy(),
            seen=self.state.centroids.seen.cpu().numpy(),
        )
        partial.replace(self.folder.outcome)
        return {"test/accuracy": test.accuracy, "test/loss": test.loss}


class TrialRunner(tune.Trainable):
    """Runs `config["run"]`, the key of a run folder, under the base configuration with `config["assignments"]`."""

    def setup(self, config: dict[str, Any], *, base: Config, dataset: Dataset, path: Path, open_test: bool) -> None:
        """Takes what all runs of a phase share: base configuration, data, the study's folder, and whether a finished
        run reads the test split.
        """
        self._base, self._dataset, self._path, self._open_test = base, dataset, path, open_test
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins another run in this process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        assert self._base is not None
        torch.set_num_threads(self._base.training.num_threads)
        self._run: Run | None = None
        self._new_config = config
        self._epoch = 0

    def step(self) -> dict[str, Any]:
        """The metrics of the next epoch, or the reason why there is none."""
        try:
            return self._next()
        except SuperCMError as error:
            return {"epoch": self._epoch + 1, FAILURE: str(error), "done": True}

    def _next(self) -> dict[str, Any]:
        if self._run is None:
            config = self._base.replace(self._new_config["assignments"])
            self._run = Run(RunFolder(self._path, self._new_config["run"]), config, self._dataset)
            self._results = iter(self._run)
        metrics: dict[str, Any] = dict(next(self._results))
        self._epoch = int(metrics["epoch"])
        if self._epoch < self._run.config.training.num_epochs:
            return metrics
        return {**metrics, **(self._run.open_test() if self._open_test else {}), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a run keeps its checkpoints in its own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: a run finds its checkpoint in its own folder."""


def _resume(folder: RunFolder, config: Config, dataset: Dataset, device: torch.device) -> TrainState:
    if not folder.checkpoint.exists():
        return TrainState.create(config, dataset, device)
    try:
        return load_checkpoint(folder.checkpoint, config, dataset, device)
    except CheckpointError as error:
        logger.warning("%s; the run starts afresh", error)
        folder.checkpoint.rename(folder.checkpoint.with_suffix(".refused"))
        return TrainState.create(config, dataset, device)
