"""The command `scale`: a scaling study from its section of the study file to its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from supercm_ray.config import ClusterOptions, Study, scaling_of
from supercm_ray.execution.lifecycle import closing_on_error, driving
from supercm_ray.execution.place import DEFAULT_CLUSTER, Needs
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import StudyFolder, write_study
from supercm_ray.scaling.analysis import analyse
from supercm_ray.scaling.measure import ScalingRun
from supercm_ray.scaling.measurements import FILE_NAME, Measurements, Provenance, load_measurements
from supercm_ray.scaling.measurements_file import MeasurementsFile
from supercm_ray.scaling.plan import identity
from supercm_ray.scaling.report import ScalingReport, build_scaling_report
from supercm_ray.scaling.report.build import PAGE_NAME
from supercm_ray.scaling.workers import cluster_session
from supercm_ray.tracking import BackgroundTracker, background, make_tracker, provenance
from supercm_ray.training.preflight import load_checked


@dataclass(frozen=True)
class ScaleResult:
    """The result of a scaling study.

    Attributes:
        measurements: everything that was measured, the content of the file `report.measurements`.
        report: the report's text and files.
        folder: the scaling study's folder.
        tracking_uri: address at which it is tracked; empty if it is not tracked.
        run_id: the tracker's id of the parent run.
        how_to_open: the commands or addresses that show the tracked runs, one a line.
    """

    measurements: Measurements
    report: ScalingReport
    folder: StudyFolder
    tracking_uri: str = field(repr=False)  # which may have credentials
    run_id: str
    how_to_open: str


def scale(
    study: Study,
    *,
    results: Path,
    callback: Callback | None = None,
    plots: bool = True,
    command: str = "",
    cluster: ClusterOptions = DEFAULT_CLUSTER,
) -> ScaleResult:
    """Makes the measurements that a study's scaling section asks for and that are missing, and reports (see
    `supercm_ray.scale`, which checks the study).

    Args:
        study: the result of `load_study`. Its base is timed and trained; its space is searched.
        results: the results folder; the scaling study has a folder of its own in `scale` there.
        callback: called with the progress.
        plots: whether to draw the report's plots.
        command: the command line, for the record.
        cluster: what is asked of a cluster.

    Raises:
        StudyError: for anything wrong with the study or the section, or if the cluster is too small.
        WorkersError: if the workers failed again and again.
        InterruptedStudyError: after Ctrl-C or a signal, or PreemptedError; the same call resumes.
    """
    scaling = scaling_of(study)
    dataset = load_checked(study)
    key = identity(study, scaling)
    folder = StudyFolder.open(results / "scale", f"{study.name}-{scaling.mode}-{key[:8]}", key)
    with driving(folder):
        write_study(folder.path, study)
        named = study.model_copy(update={"name": f"{study.name}-{scaling.mode}-scaling"})
        with background(make_tracker(named, folder), folder=folder) as tracker:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), tracker.sync)
            with closing_on_error(recorder, tracker.close_study):
                run_id = tracker.open_study()
                file = MeasurementsFile(folder.path / FILE_NAME, scaling, _provenance(study, command))
                run = ScalingRun(scaling, recorder, file)
                if run.has_work():
                    needs = Needs.of(study, dataset, folder, cluster, recorder.nodes)
                    with cluster_session(needs) as (executor, place), closing_on_error(recorder, tracker.close_study):
                        recorder.placed(place, tracker.uri)
                        run.run(executor)
                report = build_scaling_report(file.path, plots=plots)
                recorder.show(report.text)
                _log(tracker, folder, file.content)
                tracker.close_study("complete")
    return ScaleResult(file.content, report, folder, tracker.uri, run_id, tracker.how_to_open)


def _provenance(study: Study, command: str) -> Provenance:
    made_by, training = provenance(), study.base.training
    steps = training.num_epochs * training.steps_per_epoch
    return Provenance(
        study=study.name,
        objective=study.primary,
        job_samples=steps * study.base.batch_size,
        command=command,
        commit=made_by.commit,
        versions=made_by.versions,
    )


def send_scaled(tracker: BackgroundTracker, folder: StudyFolder) -> None:
    """Sends what a tracker lacks of a scaling study."""
    is_open, file = tracker.attach_study(), folder.path / FILE_NAME
    has_ended = file.exists() and (folder.path / PAGE_NAME).exists()
    if has_ended:
        _log(tracker, folder, load_measurements(file))
    if is_open:
        tracker.close_study("complete" if has_ended else "interrupted")


def _log(tracker: BackgroundTracker, folder: StudyFolder, measured: Measurements) -> None:
    files = [folder.path / name for name in (FILE_NAME, PAGE_NAME, "table.json", "study.yaml")]
    plots = sorted((folder.path / "plots").glob("*.png"))
    tracker.log_files({**dict.fromkeys(filter(Path.is_file, files), ""), **dict.fromkeys(plots, "plots")})
    tracker.log_metrics(dict(_metrics(measured)))


def _metrics(measured: Measurements) -> Iterator[tuple[str, float]]:
    """Returns metrics of the whole study by name, such as `efficiency/4` at 4 workers."""
    found = analyse(measured)
    for point, cost in zip(found.points, found.costs, strict=True):
        yield f"step_s/{point.num_workers}", point.step_s[1]
        yield f"samples_per_s/{point.num_workers}", cost.throughput
        yield f"speedup/{point.num_workers}", cost.speedup
        yield f"efficiency/{point.num_workers}", cost.efficiency
    for one in found.tuning:
        yield f"trials_per_hour/{one.trials_at_once}/{one.gpus_per_trial:g}", one.trials_per_hour
