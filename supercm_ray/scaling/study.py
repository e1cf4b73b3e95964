"""The verb `scale`: a scaling study from its plan to its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from supercm_ray.config import Study
from supercm_ray.execution.interruption import interruptible
from supercm_ray.execution.lifecycle import closing_on_error
from supercm_ray.execution.recorder import Callback, NullCallback, Recorder
from supercm_ray.records import StudyFolder, write_atomically
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.scaling import Raw, RawFile, ScalingPlan, analyse
from supercm_ray.scaling.measure import ScalingRun
from supercm_ray.scaling.report import ScalingReport, build_scaling_report
from supercm_ray.tracking import BackgroundTracker, background, make_tracker, provenance, tracker_names
from supercm_ray.training.preflight import load_checked


@dataclass(frozen=True)
class ScaleResult:
    """What a scaling study came to.

    Attributes:
        raw: everything that was measured; it stands in `report.raw`.
        report: the page and what is on it.
        tracking_uri: where it is tracked; empty for nowhere.
        run_id: the tracker's parent run.
        how_to_open: the command or address that shows what is tracked, a line for each tracker.
    """

    raw: Raw
    report: ScalingReport
    folder: StudyFolder
    tracking_uri: str
    run_id: str
    how_to_open: str


def scale(
    study: Study, plan: ScalingPlan, *, results: Path, callback: Callback | None = None, plots: bool = True
) -> ScaleResult:
    """Measures what a plan asks for, as far as it was not measured before, and reports.

    Args:
        study: what `load_study` returned. Its base is timed and trained; its space is searched.
        plan: what to measure.
        results: the folder in which the scaling study has its own.
        callback: told of progress.
        plots: whether the report has its plots.

    Raises:
        StudyError: for anything wrong with the study or the plan, or a count for which the cluster has no room.
        WorkersError: where workers failed again and again.
        InterruptedStudyError: after Ctrl-C or SIGTERM; the same call resumes.
    """
    plan.check_batches(study)
    plan.check_searches(study)
    tracker_names(study)
    dataset = load_checked(study)
    identity = plan.identity(study)
    folder = StudyFolder.open(results / "scale", f"{study.name}-{plan.mode}-{identity[:8]}", identity)
    with folder.lock(), interruptible():
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        named = study.model_copy(update={"name": f"{study.name}-{plan.mode}-scaling"})
        with background(make_tracker(named, folder)) as tracker:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), tracker.sync)
            with closing_on_error(recorder, tracker.close_study):
                run_id = tracker.open_study()
                file = RawFile(folder.path / "raw.json", plan, _header(study, plan))
                run = ScalingRun(plan, recorder, file)
                if run.has_work():
                    with ray_session(), closing_on_error(recorder, tracker.close_study):
                        run.run()
                made = build_scaling_report(file.path, plots=plots)
                _log(tracker, made, file.raw)
                tracker.close_study("complete")
    return ScaleResult(file.raw, made, folder, tracker.uri, run_id, tracker.how_to_open)


def _header(study: Study, plan: ScalingPlan) -> dict[str, Any]:
    """What stands in the raw file beside measurements."""
    made_by, training = provenance(), study.base.training
    steps = training.num_epochs * training.steps_per_epoch
    return {
        "study": study.name,
        "objective": study.primary,
        "job_rows": steps * (training.labeled_batch_size + training.unlabeled_batch_size),
        "command": plan.command,
        "commit": made_by.commit,
        "versions": made_by.versions,
    }


def _log(tracker: BackgroundTracker, made: ScalingReport, raw: Raw) -> None:
    study_file = made.raw.with_name("study.yaml")
    files = {made.raw: "", made.html: "", made.table_json: "", study_file: ""}
    tracker.log_files({**files, **dict.fromkeys(made.plots, "plots")})
    tracker.log_metrics(dict(_figures(raw)))


def _figures(raw: Raw) -> Iterator[tuple[str, float]]:
    """Figures of the whole study by name, such as `efficiency/4`."""
    found = analyse(raw)
    for point, cost in zip(found.points, found.costs, strict=True):
        yield f"step_s/{point.count}", point.step_s[1]
        yield f"rows_per_s/{point.count}", cost.throughput
        yield f"speedup/{point.count}", cost.speedup
        yield f"efficiency/{point.count}", cost.efficiency
    for one in found.tuning:
        yield f"trials_per_hour/{one.trials_at_once}/{one.gpus_per_trial:g}", one.trials_per_hour
