"""Runs that a search in MLflow finds, as the records that they were made from."""

from __future__ import annotations

import json
from typing import get_args

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from supercm_ray.config import Leaf
from supercm_ray.errors import StudyError, TrackingError
from supercm_ray.records import RunRecord, RunView, SplitDigest
from supercm_ray.records.run_folder import Kind, Status
from supercm_ray.tracking.mlflow.database import SQLITE, is_absent
from supercm_ray.tracking.mlflow.describing import parsed
from supercm_ray.tracking.mlflow.place import connect, tracking_uri
from supercm_ray.tracking.mlflow.runs import MlflowRuns
from supercm_ray.tracking.tracker import TrackedRun

_KINDS: dict[str, Kind] = {"trial": "trial", "finalist": "finalist", "train": "train"}
_STATUSES: dict[str, Status] = {one: one for one in get_args(Status)}


def connect_to_existing() -> MlflowRuns:
    """Connects to MLflow without making a database.

    Raises:
        TrackingError: if there is none, or it cannot be used.
    """
    uri = tracking_uri()
    if is_absent(uri):
        raise TrackingError(
            f"MLflow must have a database, got none in {uri.removeprefix(SQLITE)}; set MLFLOW_TRACKING_URI, or give "
            "the command where the studies were run"
        )
    return MlflowRuns(*connect(uri))


def search(condition: str) -> list[TrackedRun]:
    """Returns the trials, finalists and trained runs of this package that satisfy a filter (see `search_mlflow`)."""
    runs = connect_to_existing()
    try:
        found = runs.search(f"{condition} and tags.`supercm.kind` != 'study'")
    except MlflowException as error:
        raise StudyError(
            f"a search must be a filter of MLflow's, conditions such as \"params.`algorithm.name` = 'vat'\" joined by "
            f"`and`, got {condition!r}: {str(error).splitlines()[0]}"
        ) from error
    return [_tracked(run) for run in found if run.data.tags.get("supercm.kind") in _KINDS]


def _tracked(run: Run) -> TrackedRun:
    tags, metrics = run.data.tags, dict(run.data.metrics)
    summary = {name: value for name, value in metrics.items() if name.startswith("test/")}
    last = {name: value for name, value in metrics.items() if not name.startswith(("test/", "best/", "system/"))}
    record = RunRecord(
        key=tags["supercm.run"],
        kind=_KINDS[tags["supercm.kind"]],
        overrides={},
        params={path: parsed(text) for path, text in run.data.params.items() if path != "label_budget"},
        label_budget=_number(tags, "label_budget"),
        labels={"arm": tags["supercm.arm"]} if "supercm.arm" in tags else {},
        status=_STATUSES.get(tags.get("supercm.status", ""), "running"),
        num_labeled=_number(tags, "num_labeled"),
        num_unlabeled=_number(tags, "num_unlabeled"),
        summary=summary,
        started_ms=run.info.start_time,
        ended_ms=run.info.end_time,
    )
    view = RunView(record, [last] if last else [])
    return TrackedRun(view, tags.get("supercm.study", ""), tags.get("supercm.study_id", ""), _digests(run))


def _number(tags: dict[str, str], name: str) -> int:
    return int(tags.get(f"supercm.{name}", 0))


def _digests(run: Run) -> dict[str, SplitDigest]:
    found = {}
    for used in run.inputs.dataset_inputs if run.inputs else ():
        use = next((tag.value for tag in used.tags if tag.key == "mlflow.data.context"), "")
        profile: dict[str, Leaf] = json.loads(used.dataset.profile or "{}")
        data = str(profile.get("samples_digest", ""))
        if use and data:
            found[use] = SplitDigest(used.dataset.digest, int(str(profile.get("num_samples", 0))), data)
    return found
