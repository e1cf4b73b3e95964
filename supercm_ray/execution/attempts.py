"""Attempts at a run: yields its messages, and reports failures as messages instead of raising them."""

from __future__ import annotations

import logging
from collections.abc import Generator

from supercm_ray.config import Config
from supercm_ray.data import Dataset, Splits
from supercm_ray.errors import CheckpointError, StorageError, SuperCMError, WorkersError
from supercm_ray.execution.executor import Executor, Phase, Run
from supercm_ray.records import CheckpointStore, Message, RunFailed, StudyFolder, this_machine
from supercm_ray.training import Job

logger = logging.getLogger(__name__)

RETRIES = 2
"""Number of times a run is started again, from its checkpoint, after its process or its storage failed."""

PROCESS_FAILED = "the worker process failed"
"""First words of the reason of a run whose process failed, in contrast to its computation."""


def job_of(
    folder: StudyFolder,
    run: Run,
    config: Config,
    dataset: Dataset,
    *,
    evaluate_test: bool,
    best_by: tuple[str, str] | None = None,
    home: str | None = None,
) -> Job:
    """Returns the job of a run that has been begun. Nothing is read from the folder.

    Args:
        folder: the study's folder.
        run: the run, with its splits.
        config: its configuration.
        dataset: the study's data.
        evaluate_test: whether it reads the test split after its last epoch.
        best_by: the metric and its direction by which the best checkpoint is kept.
        home: the machine of the process that runs the study; None for this one.
    """
    return Job(
        config,
        dataset,
        Splits.deserialize(run.splits),
        folder.storage(run.key, config.training.storage_path),
        marker=folder.marker(config.training.storage_path, this_machine() if home is None else home),
        keeps_model=run.kind != "trial",
        best_by=best_by,
        evaluate_test=evaluate_test,
    )


def attempt(executor: Executor, phase: Phase, run: Run) -> Generator[Message]:
    """Runs once, from the last checkpoint if there is one. A checkpoint that cannot be used is quarantined, and the run
    starts from the beginning.

    Yields:
        The messages of the run, the last of which is RunFailed if its computation failed.

    Raises:
        StorageError: if checkpoints cannot be read or written at the moment, so that the run may be tried again.
    """
    epoch = 0
    try:
        try:
            for message in _messages(executor, phase, run):
                epoch = message.epoch
                yield message
        except CheckpointError as error:
            if epoch:
                raise
            logger.warning("%s; the run starts afresh", error)
            CheckpointStore(_job(phase, run).storage).quarantine()
            for message in _messages(executor, phase, run):
                epoch = message.epoch
                yield message
    except StorageError:
        raise
    except WorkersError as error:
        yield process_failed(str(error), epoch, is_lost=error.is_lost, traceback=error.worker_traceback)
    except SuperCMError as error:
        yield RunFailed(epoch, str(error))


def process_failed(reason: str, epoch: int = 0, *, is_lost: bool = False, traceback: str = "") -> RunFailed:
    """Returns the message of a run whose process failed or, if it is lost, was taken from it."""
    what = f"{PROCESS_FAILED}: {reason}" if reason else PROCESS_FAILED
    return RunFailed(epoch, what, by_process=True, is_lost=is_lost, traceback=traceback)


def _messages(executor: Executor, phase: Phase, run: Run) -> Generator[Message]:
    yield from executor.run(_job(phase, run), phase.study.budget)


def _job(phase: Phase, run: Run) -> Job:
    config = phase.study.base.replace(run.overrides)
    return job_of(phase.folder, run, config, phase.dataset, evaluate_test=phase.evaluate_test, home=phase.home)
