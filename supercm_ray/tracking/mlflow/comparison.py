"""A comparison as a run of its own in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from supercm_ray.records import now_ms
from supercm_ray.tracking.mlflow.describing import provenance_tags
from supercm_ray.tracking.mlflow.found import connect_to_existing
from supercm_ray.tracking.mlflow.place import how_to_open, tracking_uri


def log(name: str, note: str, compared: Mapping[str, str], metrics: Mapping[str, float], page: Path) -> str:
    """Creates the run of a comparison, and returns how to open it (see `log_comparison`)."""
    runs = connect_to_existing()
    tags = {**provenance_tags(), "supercm.kind": "comparison", "mlflow.note.content": note}
    run_id = runs.create(name, tags)
    runs.log_params(run_id, compared)
    runs.log_metrics(run_id, metrics, now_ms())
    runs.client.log_artifact(run_id, str(page))
    runs.set_status(run_id, "complete", now_ms())
    return how_to_open(tracking_uri(), f"/#/experiments/{runs.experiment_id}/runs/{run_id}")
