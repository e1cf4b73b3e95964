"""The commands of the command line as functions that return their results."""

from __future__ import annotations

from pathlib import Path

from supercm_ray.api_models import DEFAULT_RESULTS, embed, load_model, predict
from supercm_ray.checks import check_command
from supercm_ray.comparing import Comparison
from supercm_ray.comparing import compare as _compare
from supercm_ray.config import ClusterOptions, Config, ScalingConfig, Study, load_study
from supercm_ray.data import split_dataset
from supercm_ray.diagnosis import Diagnosis, diagnose
from supercm_ray.execution.executor import EXECUTORS, Executor
from supercm_ray.execution.phases import summarise
from supercm_ray.execution.place import DEFAULT_CLUSTER
from supercm_ray.execution.recorder import Callback
from supercm_ray.inference import Embedded, Model, Predictions, PredictResult
from supercm_ray.records import StudyFolder, read_study
from supercm_ray.scaling.scale import ScaleResult
from supercm_ray.scaling.scale import scale as _scale
from supercm_ray.syncing import sync as _sync
from supercm_ray.training.preflight import load_checked
from supercm_ray.tuning.exporting import export as _export
from supercm_ray.tuning.report import Report
from supercm_ray.tuning.report.about_data import about_data
from supercm_ray.tuning.study import TuneResult
from supercm_ray.tuning.study import report as _report
from supercm_ray.tuning.study import tune as _tune
from supercm_ray.tuning.train import TrainResult, placed
from supercm_ray.tuning.train import train as _train

__all__ = [
    "ClusterOptions",
    "Comparison",
    "Diagnosis",
    "Embedded",
    "Model",
    "PredictResult",
    "Predictions",
    "Report",
    "ScaleResult",
    "ScalingConfig",
    "TrainResult",
    "TuneResult",
    "compare",
    "describe_data",
    "doctor",
    "embed",
    "export",
    "load_model",
    "load_study",
    "predict",
    "report",
    "scale",
    "sync",
    "train",
    "tune",
]


def tune(
    study: Study,
    *,
    results: Path = DEFAULT_RESULTS,
    executor: str | Executor = "ray",
    callback: Callback | None = None,
    plots: bool = True,
    cluster: ClusterOptions = DEFAULT_CLUSTER,
    register: str = "",
) -> TuneResult:
    """Searches a study's space, runs candidates and finalists, and reports; resumes an interrupted study.

    Args:
        study: the result of `load_study`.
        results: the results folder; the study has a folder of its own there, named after it.
        executor: what runs the trials: `ray`, `in-process` for the calling process, the name of a plug-in's executor,
            or an executor object.
        callback: called with the progress.
        plots: whether the report has its plots, which take seconds to draw; `report` can draw them later.
        cluster: what is asked of a cluster: how many nodes to wait for, and the like.
        register: the name under which MLflow's registry gets the best model; empty for none.

    Raises:
        StudyError: for anything wrong with the study or its data, before anything is started.
        StorageError: if checkpoints cannot be written.
        SuperCMError: if no trial has used its full budget, or no group has a choice among its candidates.
        InterruptedStudyError: after Ctrl-C or a signal, or PreemptedError; the same call resumes.
    """
    check_command(study, "tune", results=results, executor=executor, register=register)
    return _tune(
        study,
        _executor(executor),
        results=results,
        callback=callback,
        plots=plots,
        cluster=cluster,
        register=register,
    )


def train(
    study: Study | Config,
    *,
    num_workers: int | tuple[int, int] | None = None,
    use_gpu: bool = False,
    results: Path = DEFAULT_RESULTS,
    evaluate_test: bool = False,
    executor: str | Executor | None = None,
    callback: Callback | None = None,
    continue_from: str | Path | None = None,
    cluster: ClusterOptions = DEFAULT_CLUSTER,
    register: str = "",
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
        continue_from: a finished run, by its folder or as `load_model` takes it, from whose last checkpoint a new run
            goes on, with more epochs. Data, model, algorithm and seed must be that run's; other settings of `training`
            may differ. What depends on the fraction of training done, such as a drop of the learning rate, follows
            the new number of epochs, so that the fraction falls when the new run begins.
        cluster: what is asked of a cluster, if the run has workers there.
        register: as for `tune`, for the model of this run.

    Raises:
        StudyError: for anything wrong with the study, its data, or the resources for its workers.
        CheckpointError: for a checkpoint that cannot be used.
        StorageError: if checkpoints cannot be read or written.
        DivergedError: if the loss is no longer a finite number.
        WorkersError: if the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or a signal, or PreemptedError; the same call resumes.
    """
    study = placed(study, num_workers, use_gpu)
    executor = executor or ("in-process" if study.budget.worker_range == (1, 1) else "ray")
    check_command(study, "train", results=results, executor=executor, continue_from=continue_from, register=register)
    return _train(
        study,
        _executor(executor),
        results=results,
        evaluate_test=evaluate_test,
        callback=callback,
        continue_from=continue_from,
        cluster=cluster,
        register=register,
    )


def describe_data(study: Study) -> tuple[str, ...]:
    """Reads a study's data and returns sentences about them: counts of each kind, and what was left out or is odd.

    Args:
        study: the result of `load_study`.

    Raises:
        StudyError: for data that the study cannot be run on.
    """
    dataset = load_checked(study, all_seeds=bool(study.space))
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
    return _report(read_study(folder.path), folder)


def sync(study: str | Path, *, results: Path = DEFAULT_RESULTS) -> str:
    """Sends what the tracker, such as MLflow, lacks of a study; nothing is sent twice.

    Args:
        study: the name or folder of a study that was tuned or measured, or of a trained run.
        results: the results folder, for names.

    Returns:
        The command or address that shows it, a line for each tracker.

    Raises:
        StudyError: if there is no such study, there are several, or another process is running it.
        TrackingError: if the tracker cannot be used.
    """
    return _sync(study, results)


def export(
    study: str | Path,
    *,
    output: Path | None = None,
    form: str = "",
    epochs: bool = False,
    results: Path = DEFAULT_RESULTS,
) -> str:
    """Writes the runs of a study as a table: trials, finalists or trained runs, with their status, seed, labels, varied
    parameters and last metrics.

    Args:
        study: the name or folder of a study, or of a trained run.
        output: the file; None to return the table as text.
        form: `csv`, `json` or `parquet`; empty for what the file's name ends with, or csv.
        epochs: whether every epoch is a row, rather than every run.
        results: the results folder, for names.

    Returns:
        The text of the table if there is no `output`; otherwise an empty one.

    Raises:
        StudyError: if there is no such study, there are several, or the format is unknown.
        StorageError: if a file cannot be read or written.
    """
    return _export(study, results, output, form, epochs=epochs)


def scale(
    study: Study,
    scaling: ScalingConfig | None = None,
    *,
    results: Path = DEFAULT_RESULTS,
    callback: Callback | None = None,
    plots: bool = True,
    command: str = "",
    cluster: ClusterOptions = DEFAULT_CLUSTER,
) -> ScaleResult:
    """Measures how a study's training scales with workers and its tuning with concurrent trials, and reports.

    Args:
        study: the result of `load_study`.
        scaling: what to measure, instead of the study's own `scaling` section.
        results: the results folder; the scaling study has a folder of its own in `scale` there.
        callback: called with the progress.
        plots: whether to draw the report's plots.
        command: the command line, for the record.
        cluster: what is asked of a cluster.

    Raises:
        StudyError: for anything wrong with the study or the section, or if the cluster is too small.
        WorkersError: if the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or a signal; the same call resumes, and measures nothing twice.
    """
    if scaling is not None:
        study = study.model_copy(update={"scaling": scaling})
    check_command(study, "scale", results=results)
    return _scale(study, results=results, callback=callback, plots=plots, command=command, cluster=cluster)


def doctor(
    study: Study | None = None, *, results: Path = DEFAULT_RESULTS, cluster: ClusterOptions = DEFAULT_CLUSTER
) -> Diagnosis:
    """Looks at the cluster that a study would run on, at each of its nodes, and at the tracker, and runs nothing.

    Args:
        study: the result of `load_study`, whose data, plug-ins and checkpoints are looked at too; None for the rest.
        results: the results folder.
        cluster: whether to send this package to the nodes, and how long to wait for how many of them.
    """
    return diagnose(study, results=results, options=cluster)


def compare(
    *named: str | Path, results: Path = DEFAULT_RESULTS, page: Path | None = None, log: bool = False
) -> Comparison:
    """Compares studies, trained runs and runs found in MLflow, as text and as one page that needs no network; or
    scaling studies with the first of them, as text.

    Args:
        named: two or more of: the folder, file or name of a study or of a trained run; a filter of MLflow's, such as
            "params.`algorithm.name` = 'vat'", for the trials, finalists and trained runs in its experiment that satisfy
            it. Or two or more scaling studies, by folder, name or file of measurements.
        results: the results folder, for names.
        page: the file of the page; by default one in `results/comparisons`.
        log: whether the comparison becomes a run of its own in MLflow.

    Raises:
        StudyError: if one of them is not found, or is of another kind.
        StorageError: if the page cannot be written.
        TrackingError: if MLflow is asked and cannot be used.
    """
    return _compare([str(one) for one in named], results=results, page=page, log=log)


def _executor(named: str | Executor) -> Executor:
    return EXECUTORS.find(named).make() if isinstance(named, str) else named
