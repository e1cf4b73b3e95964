"""The model of a finished run, handed to the tracker."""

from __future__ import annotations

import torch

from supercm_ray.config import Config
from supercm_ray.data import Dataset, as_floats
from supercm_ray.errors import StorageError
from supercm_ray.models import Predictor
from supercm_ray.records import CheckpointStore, StudyFolder
from supercm_ray.tracking import Tracker, log_model
from supercm_ray.training import deserialize_ema_model

MODEL_TAG = "supercm.model_uri"


def log_model_of(tracker: Tracker, run_id: str, config: Config, folder: StudyFolder, key: str, dataset: Dataset) -> str:
    """Logs the moving average of a run's last checkpoint under a run of the tracker; its address there.

    Raises:
        StorageError: where the checkpoint cannot be read from here.
    """
    storage = folder.storage(key, config.training.storage_path)
    content = CheckpointStore(storage).read()
    if content is None:
        raise StorageError(
            f"the last checkpoint of {key} must be readable from here, got nothing in {storage}; take a "
            "training.storage_path that all processes share"
        )
    average = deserialize_ema_model(content, storage, config, dataset)
    example = as_floats(torch.as_tensor(dataset.images[:4])).numpy()
    uri = log_model(run_id, Predictor(average), example, f"{folder.path.name}-model")
    tracker.set_tag(run_id, MODEL_TAG, uri)
    return uri
