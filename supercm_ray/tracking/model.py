"""Saving a model in MLflow in a form that loads without pickle (a torch.export program)."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import mlflow
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from supercm_ray.tracking.client import tracking_uri


def log_model(run_id: str, model: nn.Module, example: npt.NDArray[np.float32], title: str) -> str:
    """Logs a model under a run and returns its `models:/` address.

    Args:
        run_id: the MLflow run it belongs to.
        model: maps a float32 tensor shaped like `example` to a tensor; it is moved to the CPU and to eval mode.
        example: at least two rows, so that the number of rows stays free.
        title: the model's name.
    """
    model = model.cpu().eval()
    with torch.no_grad():
        output = model(torch.from_numpy(example)).numpy()
    with _fluent_api(), mlflow.start_run(run_id=run_id, log_system_metrics=False):
        info = mlflow.pytorch.log_model(
            model,
            name=title,
            serialization_format="pt2",
            input_example=example,
            signature=mlflow.models.infer_signature(example, output),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
        )
    return str(info.model_uri)


@contextmanager
def _fluent_api() -> Iterator[None]:
    """Points MLflow's global API, which model logging needs, at our database, and puts everything back."""
    former = os.environ.get("MLFLOW_TRACKING_URI")
    log = logging.getLogger("mlflow")
    level = log.level
    mlflow.set_tracking_uri(tracking_uri())
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")  # of torch.export and MLflow about their own insides
            yield
    finally:
        log.setLevel(level)
        mlflow.set_tracking_uri(former or "")
        if former is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
