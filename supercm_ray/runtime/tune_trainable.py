"""One training run inside a Ray worker process, an epoch a call; the process serves one run after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from typing import Any

from ray import tune

from supercm_ray.config import Study
from supercm_ray.data import Dataset
from supercm_ray.errors import CheckpointError, StorageError, SuperCMError, WorkersError
from supercm_ray.records import CheckpointStore, Status, StudyFolder
from supercm_ray.runtime.jobs import job_of, record_predictions, run_job
from supercm_ray.search import objective_values

logger = logging.getLogger(__name__)

FAILURE = "failure"
"""The key of a result that says why the run failed."""

PROCESS_FAILED = "the worker process failed"
"""How the reason begins of a run that failed by its process and not by what it computed."""


def outcome(study: Study, overrides: dict[str, Any], result: dict[str, Any]) -> tuple[Status, str]:
    """How a run ended whose last result this is, and why: what Optuna is told and what its record says alike."""
    if FAILURE in result:
        return "failed", str(result[FAILURE])
    epoch, num_epochs = result["epoch"], study.base.training.num_epochs
    values = objective_values(study, {**study.base.leaves(), **overrides}, result)
    if not all(math.isfinite(value) for value in values):
        return "failed", f"the objective is not a number in epoch {epoch}: {values}"
    if epoch < num_epochs:
        return "pruned", f"stopped early after epoch {epoch} of {num_epochs}"
    return "complete", ""


class TrialRunner(tune.Trainable):
    """Runs the job of `config["run"]`, the key of a run, under the base configuration with `config["overrides"]`: in
    this process, or on several workers of its own where the study wants them.
    """

    def setup(
        self, config: dict[str, Any], *, study: Study, folder: StudyFolder, dataset: Dataset, evaluate_test: bool
    ) -> None:
        """Takes what all runs of a phase share: the study and its folder, the data, and whether a finished run reads
        the test split.
        """
        self._study, self._folder, self._dataset, self._evaluate_test = study, folder, dataset, evaluate_test
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins another run in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Ends the run, wherever it stands, and frees what it held."""
        self._messages.close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._key, self._overrides = config["run"], config["overrides"]
        self._messages = self._start()
        self._epoch = 0

    def step(self) -> dict[str, Any]:
        """The metrics of the next epoch, or the reason why there is none. A storage that fails is raised, for Tune to
        begin the run again from its checkpoint.
        """
        try:
            return self._next()
        except StorageError:
            raise
        except SuperCMError as error:
            reason = f"{PROCESS_FAILED}: {error}" if isinstance(error, WorkersError) else str(error)
            return {"epoch": self._epoch + 1, FAILURE: reason, "done": True}

    def _next(self) -> dict[str, Any]:
        try:
            metrics = dict(next(self._messages))
        except CheckpointError as error:
            if self._epoch:
                raise
            metrics = dict(self._start_afresh(error))
        self._epoch = int(metrics["epoch"])
        record_predictions(metrics, self._folder.run(self._key))
        return {**metrics, "done": True} if self._epoch == self._study.base.training.num_epochs else metrics

    def _start(self) -> Generator[dict[str, Any]]:
        """The run's messages; it begins when the first is asked for."""
        config = self._study.base.replace(self._overrides)
        job = job_of(self._folder, self._key, config, self._dataset, evaluate_test=self._evaluate_test)
        yield from run_job(job, self._study.budget, self._folder.run(self._key))

    def _start_afresh(self, error: CheckpointError) -> dict[str, Any]:
        """The first epoch of a run whose checkpoint cannot be used, which is put aside."""
        logger.warning("%s; the run starts afresh", error)
        CheckpointStore(self._folder.storage(self._key, self._study.base.training.storage_path)).quarantine()
        self._messages = self._start()
        return next(self._messages)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a run keeps its checkpoints itself."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: a run finds its checkpoint itself."""
