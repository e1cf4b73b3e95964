"""The commands of the command line as functions that return their results."""

from __future__ import annotations

from pathlib import Path

from supercm_ray.comparison import compare_studies
from supercm_ray.config import Config, ScalingConfig, Study, load_study
from supercm_ray.data import split_dataset
from supercm_ray.execution.executor import EXECUTORS, Executor
from supercm_ray.execution.phases import summarise
from supercm_ray.execution.recorder import Callback
from supercm_ray.records import StudyFolder
from supercm_ray.scaling.scale import ScaleResult
from supercm_ray.scaling.scale import scale as _scale
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.report import Report
from supercm_ray.tuning.report.about_data import about_data
from supercm_ray.tuning.study import TuneResult
from supercm_ray.tuning.study import report as _report
from supercm_ray.tuning.study import tune as _tune
from supercm_ray.tuning.train import TrainResult, placed
from supercm_ray.tuning.train import train as _train

__all__ = [
    "Report",
    "ScaleResult",
    "ScalingConfig",
    "TrainResult",
    "TuneResult",
    "compare",
    "describe_data",
    "load_study",
    "report",
    "scale",
    "train",
    "tune",
]

DEFAULT_RESULTS = Path("results")


def tune(
    study: Study,
    *,
    results: Path = DEFAULT_RESULTS,
    executor: str | Executor = "ray",
    callback: Callback | None = None,
    plots: bool = True,
) -> TuneResult:
    """Searches a study's space, runs the finalists, and reports; resumes an interrupted study.

    Args:
        study: the result of `load_study`.
        results: the results folder; the study has a folder of its own there, named after it.
        executor: what runs the trials: `ray`, `in-process` for the calling process, the name of a plug-in's executor,
            or an executor object.
        callback: called with the progress.
        plots: whether the report has its plots, which take seconds to draw; `report` can draw them later.

    Raises:
        StudyError: for anything wrong with the study or its data, before anything is started.
        StorageError: if checkpoints cannot be written.
        SuperCMError: if no trial has used its full budget.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    return _tune(study, _executor(executor), results=results, callback=callback, plots=plots)


def train(
    study: Study | Config,
    *,
    num_workers: int | tuple[int, int] | None = None,
    use_gpu: bool = False,
    results: Path = DEFAULT_RESULTS,
    evaluate_test: bool = False,
    executor: str | Executor | None = None,
    callback: Callback | None = None,
) -> TrainResult:
    """Runs a base configuration once, in this process or on several workers; resumes from its checkpoint.

    Args:
        study: the result of `load_study`, or a configuration alone.
        num_workers: number of Ray Train workers that share every batch, or the minimum and the maximum of an elastic
            group; None for the study's own budget.
        use_gpu: whether each worker must have a GPU; False for the study's own budget.
        results: the results folder; the run has a folder of its own there, named after the study and its configuration.
        evaluate_test: whether the finished run reads the test split. Do not read it while comparing runs.
        executor: as for `tune`; by default `in-process` for a single worker and `ray` for several.
        callback: called with the progress.

    Raises:
        StudyError: for anything wrong with the study, its data, or the resources for its workers.
        CheckpointError: for a checkpoint that cannot be used.
        StorageError: if checkpoints cannot be read or written.
        DivergedError: if the loss is no longer a finite number.
        WorkersError: if the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    study = placed(study, num_workers, use_gpu)
    default = "in-process" if study.budget.worker_range == (1, 1) else "ray"
    return _train(
        study, _executor(executor or default), results=results, evaluate_test=evaluate_test, callback=callback
    )


def describe_data(study: Study) -> tuple[str, ...]:
    """Reads a study's data and returns sentences about them: counts of each kind, and what was left out or is odd.

    Args:
        study: the result of `load_study`.

    Raises:
        StudyError: for data that the study cannot be run on.
    """
    dataset = load_checked(study)
    return about_data(study, summarise(dataset, split_dataset(dataset, study.base)))


def report(study: str | Path, *, results: Path = DEFAULT_RESULTS) -> Report:
    """Writes a study's table, page and plots from its records so far, and logs them to its tracker.

    Args:
        study: a study file, or the name of a study in `results`.
        results: the results folder.

    Raises:
        StudyError: if there is no such study.
    """
    path = Path(study)
    name = load_study(path).name if path.suffix in (".yaml", ".yml") else str(study)
    folder = StudyFolder.existing(results / name)
    return _report(load_study(folder.path / "study.yaml"), folder)


def scale(
    study: Study,
    scaling: ScalingConfig | None = None,
    *,
    results: Path = DEFAULT_RESULTS,
    callback: Callback | None = None,
    plots: bool = True,
    command: str = "",
) -> ScaleResult:
    """Measures how a study's training scales with workers and its tuning with concurrent trials, and reports.

    Args:
        study: the result of `load_study`.
        scaling: what to measure, instead of the study's own `scaling` section.
        results: the results folder; the scaling study has a folder of its own in `scale` there.
        callback: called with the progress.
        plots: whether to draw the report's plots.
        command: the command line, for the record.

    Raises:
        StudyError: for anything wrong with the study or the section, or if the cluster is too small.
        WorkersError: if the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes, and measures nothing twice.
    """
    return _scale(study, scaling, results=results, callback=callback, plots=plots, command=command)


def compare(first: str | Path, second: str | Path, *, results: Path = DEFAULT_RESULTS) -> str:
    """Compares two scaling studies, or two tuned studies, as text.

    Args:
        first: a scaling study's measurements or its folder, or the folder of a tuned study or its name in `results`.
        second: another study of the same kind.
        results: the results folder, with tuned studies.

    Raises:
        StudyError: if one of them is neither, or they are of different kinds.
    """
    return compare_studies(str(first), str(second), results=results)


def _executor(named: str | Executor) -> Executor:
    return EXECUTORS.find(named).make() if isinstance(named, str) else named
