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
from supercm_ray.records import Status, StudyFolder, write_atomically
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.scaling import Raw, RawFile, ScalingPlan, analyse
from supercm_ray.scaling.measure import ScalingRun
from supercm_ray.scaling.report import ScalingReport, build_scaling_report
from supercm_ray.tracking import Tracker, background, provenance, tracking_uri
from supercm_ray.training.preflight import load_checked

_VERSION_TAG = "supercm.version."


@dataclass(frozen=True)
class ScaleResult:
    """What a scaling study came to.

    Attributes:
        raw: everything that was measured; it stands in `report.raw`.
        report: the page and what is on it.
        run_id: the parent run.
    """

    raw: Raw
    report: ScalingReport
    folder: StudyFolder
    tracking_uri: str
    run_id: str


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
    dataset = load_checked(study)
    identity = plan.identity(study)
    folder = StudyFolder.open(results / "scale", f"{study.name}-{plan.mode}-{identity[:8]}", identity)
    with folder.lock(), interruptible():
        write_atomically(folder.path / "study.yaml", yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        tracker = Tracker(study.model_copy(update={"name": f"{study.name}-{plan.mode}-scaling"}), folder)
        with background(tracker) as writer:
            recorder = Recorder(study, folder, dataset, callback or NullCallback(), writer.sync)

            def on_end(status: Status) -> None:
                writer.call(lambda: tracker.end_parent(status))
                writer.flush()

            with closing_on_error(recorder, on_end):
                parent_id = tracker.open_parent()
                file = RawFile(folder.path / "raw.json", plan, _header(study, plan))
                run = ScalingRun(plan, recorder, file)
                if run.has_work():
                    writer.flush()
                    with ray_session(), closing_on_error(recorder, on_end):
                        run.run()
                writer.flush()
                made = build_scaling_report(file.path, plots=plots)
                _log(tracker, made, file.raw)
                tracker.end_parent("complete")
    return ScaleResult(file.raw, made, folder, tracking_uri(), parent_id)


def _header(study: Study, plan: ScalingPlan) -> dict[str, Any]:
    """What stands in the raw file beside measurements."""
    tags, training = provenance(), study.base.training
    steps = training.num_epochs * training.steps_per_epoch
    return {
        "study": study.name,
        "objective": study.primary,
        "job_rows": steps * (training.labeled_batch_size + training.unlabeled_batch_size),
        "command": plan.command,
        "commit": tags.get("mlflow.source.git.commit", ""),
        "versions": {
            name.removeprefix(_VERSION_TAG): value for name, value in tags.items() if name.startswith(_VERSION_TAG)
        },
    }


def _log(tracker: Tracker, made: ScalingReport, raw: Raw) -> None:
    study_file = made.raw.with_name("study.yaml")
    files = {made.raw: "", made.html: "", made.table_json: "", study_file: ""}
    tracker.log_artifacts({**files, **dict.fromkeys(made.plots, "plots")})
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
