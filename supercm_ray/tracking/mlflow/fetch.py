"""Fetches a model that was stored in MLflow."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import TrackingError
from supercm_ray.tracking.messages import reason_of
from supercm_ray.tracking.mlflow.database import is_absent
from supercm_ray.tracking.mlflow.model import WHOLE_MODEL
from supercm_ray.tracking.mlflow.place import tracking_uri
from supercm_ray.tracking.mlflow.tracker import MODEL_URI


def fetch_model(address: str, into: Path) -> Path:
    """Downloads a model to a folder, and returns the folder within it that `supercm_ray.load_model` reads.

    Args:
        address: `models:/...`, `runs:/RUN_ID/NAME`, or `runs:/RUN_ID` for the model that this package stored under a
            run.
        into: the folder.

    Raises:
        TrackingError: if MLflow does not have it, or it is not a model of this package.
    """
    uri = tracking_uri()
    if is_absent(uri):
        raise TrackingError(
            f"MLflow must be reachable for {address}, got no database at {uri}; set MLFLOW_TRACKING_URI"
        )
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        found = _model_of_run(uri, address) if address.count("/") == 1 and address.startswith("runs:") else address
        whole = Path(download_artifacts(found, dst_path=str(into), tracking_uri=uri)) / WHOLE_MODEL
        if not whole.is_dir():
            raise FileNotFoundError(f"no folder {WHOLE_MODEL} in it")
        return whole
    except Exception as error:  # of MLflow, its stores and the system
        raise TrackingError(
            f"a model of supercm_ray must be found at {address} in {without_credentials(uri)}, got {reason_of(error)}; "
            "correct it, or set MLFLOW_TRACKING_URI"
        ) from error


def _model_of_run(uri: str, address: str) -> str:
    tags = MlflowClient(uri).get_run(address.removeprefix("runs:/")).data.tags
    if MODEL_URI not in tags:
        raise LookupError(f"a run without the tag {MODEL_URI}")
    return str(tags[MODEL_URI])
