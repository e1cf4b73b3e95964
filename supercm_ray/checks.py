"""What a command refuses before it starts anything, as far as it needs neither data nor a cluster. The commands, their
dry runs and `validate` all call `check_command`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

from supercm_ray.config import Study, check_scaling, scaling_of
from supercm_ray.errors import StudyError
from supercm_ray.execution.executor import EXECUTORS, Executor
from supercm_ray.execution.in_process import InProcessExecutor
from supercm_ray.records import StudyFolder
from supercm_ray.tracking import check_trackers, tracker_names
from supercm_ray.tuning.continued import Continuation
from supercm_ray.tuning.found_run import find_run

_PACKAGE_OF_JOB = "_ray_pkg_"  # begins the name of the folder in which Ray unpacks a job's working directory

Command: TypeAlias = Literal["train", "tune", "scale"]


def check_command(
    study: Study,
    command: Command,
    *,
    results: Path,
    executor: str | Executor | None = None,
    continue_from: str | Path | None = None,
    register: str = "",
) -> None:
    """Checks that a command can be given for a study.

    Args:
        study: the study.
        command: the command.
        results: the results folder.
        executor: the executor or its name; None for the command's default.
        continue_from: the finished run that `train` goes on from.
        register: the name of the registered model that the best model becomes a version of; empty for none.

    Raises:
        StudyError: for whatever the command would refuse.
        TrackingError: for a tracker that cannot be used.
    """
    _check_kept("results", results.resolve(), "--results or SUPERCM_RESULTS")
    if command == "tune":
        _check_tune(study, results)
    if command == "scale":
        check_scaling(study, scaling_of(study))
    alone = command == "train" and study.budget.worker_range == (1, 1)
    _check_device(study, alone=alone)
    check_trackers(study)
    if "mlflow" in tracker_names(study) and not os.environ.get("MLFLOW_TRACKING_URI"):
        _check_kept("MLflow's database", Path.cwd() / "mlflow.db", "MLFLOW_TRACKING_URI")
    _check_register(study, register)
    _check_executor(study, executor)
    if continue_from is not None:
        Continuation(find_run(continue_from, results, begun_anew=True)).check_config(study)


def _check_kept(what: str, path: Path, where: str) -> None:
    """Checks that a place outlives this command: a Ray job's package folder does not.

    Raises:
        StudyError: for a path within one.
    """
    if any(part.startswith(_PACKAGE_OF_JOB) for part in path.parts):
        raise StudyError(
            f"{what} must lie where they are kept, got {path} in the package folder of a Ray job, which Ray removes; "
            f"give another place with {where}"
        )


def commands_for(study: Study) -> tuple[Command, ...]:
    """Returns the commands that a study file is written for: `tune` if it has a space, otherwise `train`; and `scale`
    if it has that section.
    """
    first: Command = "tune" if study.space else "train"
    return (first,) if study.scaling is None else (first, "scale")


def _check_tune(study: Study, results: Path) -> None:
    if not study.space:
        raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}; use train")
    StudyFolder.check_identity(results / study.name, study.identity())


def _check_device(study: Study, *, alone: bool) -> None:
    """Checks that training on a GPU is given one, by the budget or, for a run in this process alone, by the system."""
    if study.base.training.device != "cuda":
        return
    if not alone and not study.budget.gpus_per_worker:
        raise StudyError(
            "each worker must be given a GPU, budget.gpus_per_worker above 0, for base.training.device=cuda in "
            f"{study.source}, got 0; set it, or take `auto`"
        )
    import torch  # seconds of imports

    if alone and not torch.cuda.is_available():
        raise StudyError(
            f"a GPU must be visible to this process for training.device=cuda in {study.source}, got none; take `auto`"
        )


def _check_register(study: Study, name: str) -> None:
    if any(mark in name for mark in "/:'") or name != name.strip():
        raise StudyError(
            f"the name of a registered model must have no slash, colon, quote or space around it, got {name!r} in "
            "--register; give another one"
        )
    if name and "mlflow" not in tracker_names(study):
        raise StudyError(
            f"a model is registered in MLflow, which must be among the trackers for --register {name}, got "
            f"{', '.join(tracker_names(study))}; add it to `tracking`"
        )


def _check_executor(study: Study, executor: str | Executor | None) -> None:
    if isinstance(executor, str) and EXECUTORS.find(executor).make is InProcessExecutor:
        InProcessExecutor().capacity(study.budget)
