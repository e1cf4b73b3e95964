"""Stores a model in MLflow in a form that loads without pickle (a torch.export program)."""

from __future__ import annotations

import logging
import math
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Dataset, LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature

from supercm_ray.records import RunView
from supercm_ray.tracking.mlflow.runs import MlflowRuns
from supercm_ray.tracking.tracker import TrackedModel

WHOLE_MODEL = "supercm"
"""The folder, beside MLflow's own files, that `supercm_ray.load_model` reads."""


def log_model(
    runs: MlflowRuns, run_id: str, model: TrackedModel, run: RunView | None, used: Mapping[str, Dataset]
) -> str:
    """Stores a model under the run that trained it, with the run's parameters and the metrics of its last epoch and of
    the test split, and returns its `models:/` URI.

    Uses the client alone, since MLflow's global functions would affect a run that the caller of this package may have
    active.

    Args:
        runs: the runs of the experiment.
        run_id: the run.
        model: the model.
        run: the records of the run.
        used: the run's datasets by their use, to which its metrics belong.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "-", model.name)  # MLflow takes no dots in it
    client = runs.client
    owner = client.get_run(run_id)
    made = _begun(runs, run_id, name) or client.create_logged_model(
        runs.experiment_id, name=name, source_run_id=run_id, params=owner.data.params, model_type="pytorch"
    )
    if made.status != LoggedModelStatus.READY:
        _upload(client, run_id, made.model_id, model)
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    if made.model_id not in [one.model_id for one in owner.outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    if run is not None:
        _link_metrics(client, run_id, made.model_id, run, used)
    return f"models:/{made.model_id}"


def _begun(runs: MlflowRuns, run_id: str, name: str) -> LoggedModel | None:
    """Returns a model of this name that was created under the run and has not failed: a whole one, if the answer to
    one of the requests after it was lost, or else one that was not completed; None if there is none.
    """
    found = runs.client.search_logged_models([runs.experiment_id], filter_string=f"source_run_id = '{run_id}'")
    for status in (LoggedModelStatus.READY, LoggedModelStatus.PENDING):
        for one in found:
            if one.name == name and one.status == status:
                return one
    return None


def _upload(client: MlflowClient, run_id: str, model_id: str, model: TrackedModel) -> None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            metadata = {"class_names": list(model.class_names), "supercm_ray": WHOLE_MODEL}
            ids = {"model_id": model_id, "model_uuid": model_id}
            _save(model, path, Model(run_id=run_id, metadata=metadata, **ids))
            model.save(path / WHOLE_MODEL)
            client.log_model_artifacts(model_id, str(path))
    except BaseException:
        with suppress(Exception):  # of a server that is away, of which the first error tells
            client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)
        raise


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


def _link_metrics(client: MlflowClient, run_id: str, model_id: str, run: RunView, used: Mapping[str, Dataset]) -> None:
    """Links the metrics of a run to its model and data. Each is as it was logged, so that MLflow keeps it once."""
    last = run.metrics
    metrics = [
        _of_model(used, name, value, int(last["timestamp_ms"]), int(last["epoch"]), model_id, run_id)
        for name, value in last.items()
        if name.startswith("val/") and math.isfinite(value)
    ]
    if run.record.ended_ms is not None:
        metrics += [
            _of_model(used, name, value, run.record.ended_ms, 0, model_id, run_id)
            for name, value in run.record.summary.items()
            if math.isfinite(value)
        ]
    if metrics:
        client.log_batch(run_id, metrics=metrics)


def _of_model(
    used: Mapping[str, Dataset], name: str, value: float, timestamp: int, step: int, model_id: str, run_id: str
) -> Metric:
    data = used.get(name.split("/", maxsplit=1)[0])
    return Metric(name, value, timestamp, step, model_id, data and data.name, data and data.digest, run_id)


def register(client: MlflowClient, uri: str, name: str) -> str:
    """Makes a stored model a version of a registered model, which is created if there is none; the version that it is
    already, if it is one.
    """
    model_id = uri.removeprefix("models:/")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.source == uri or known.model_id == model_id:
            return str(known.version)
    made = client.create_model_version(name, uri, client.get_logged_model(model_id).source_run_id, model_id=model_id)
    return str(made.version)


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
