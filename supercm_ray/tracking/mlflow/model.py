"""Stores a model in MLflow in a form that loads without pickle (a torch.export program)."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, infer_signature

from supercm_ray.tracking.mlflow.runs import MlflowRuns
from supercm_ray.tracking.tracker import TrackedModel

WHOLE_MODEL = "supercm"
"""The folder, beside MLflow's own files, that `supercm_ray.load_model` reads."""


def log_model(runs: MlflowRuns, run_id: str, model: TrackedModel) -> str:
    """Stores a model under a run and returns its `models:/` URI.

    Uses the client alone, since MLflow's global functions would affect a run that the caller of this package may have
    active.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "-", model.name)  # MLflow takes no dots in it
    client = runs.client
    params = client.get_run(run_id).data.params
    made = _pending(runs, run_id, name) or client.create_logged_model(
        runs.experiment_id, name=name, source_run_id=run_id, params=params, model_type="pytorch"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            metadata = {"class_names": list(model.class_names), "supercm_ray": WHOLE_MODEL}
            ids = {"model_id": made.model_id, "model_uuid": made.model_id}
            _save(model, path, Model(run_id=run_id, metadata=metadata, **ids))
            model.save(path / WHOLE_MODEL)
            client.log_model_artifacts(made.model_id, str(path))
    except BaseException:
        with suppress(Exception):  # of a server that is away, of which the first error tells
            client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    _link_metrics(client, run_id, made.model_id)
    return f"models:/{made.model_id}"


def _pending(runs: MlflowRuns, run_id: str, name: str) -> LoggedModel | None:
    """Returns a model of this name that was created under the run and not completed, if there is one."""
    found = runs.client.search_logged_models([runs.experiment_id], filter_string=f"source_run_id = '{run_id}'")
    return next((one for one in found if one.name == name and one.status == LoggedModelStatus.PENDING), None)


def _save(model: TrackedModel, path: Path, description: Model) -> None:
    module = model.load().cpu().eval()
    with torch.no_grad():
        output = module(torch.from_numpy(model.example)).numpy()
    with _quiet():
        from mlflow.pytorch import save_model  # here, since its import sets up logging for the whole process

        save_model(
            module,
            str(path),
            mlflow_model=description,
            serialization_format="pt2",
            input_example=model.example,
            signature=infer_signature(model.example, output),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
        )


def _link_metrics(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Links the metrics of the whole run, which have step 0, to the model."""
    metrics = [
        Metric(one.key, one.value, one.timestamp, 0, model_id=model_id, run_id=run_id)
        for name in client.get_run(run_id).data.metrics
        for one in client.get_metric_history(run_id, name)
        if one.step == 0 and one.model_id is None
    ]
    client.log_batch(run_id, metrics=metrics)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the messages of torch.export and MLflow, and restores the logging configuration afterwards."""
    root, log = logging.getLogger(), logging.getLogger("mlflow")
    root_level, handlers, level = root.level, root.handlers[:], log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(root_level)
        root.handlers[:] = handlers
        log.setLevel(level)
