"""The model of a finished run, in the form that trackers store."""

from __future__ import annotations

from functools import cache

import torch

from supercm_ray.config import Config
from supercm_ray.data import Dataset, as_floats
from supercm_ray.errors import StorageError
from supercm_ray.models import Predictor
from supercm_ray.records import CheckpointStore, StudyFolder
from supercm_ray.tracking import TrackedModel
from supercm_ray.training import deserialize_ema_model


def model_of(config: Config, folder: StudyFolder, key: str, dataset: Dataset) -> TrackedModel:
    """Returns the moving average from a run's last checkpoint, which is read when a tracker asks for it."""
    storage = folder.storage(key, config.training.storage_path)

    @cache
    def load() -> Predictor:
        content = CheckpointStore(storage).read()
        if content is None:
            raise StorageError(
                f"the last checkpoint of {key} must be readable from here, got nothing in {storage}; take a "
                "training.storage_path that all processes share"
            )
        return Predictor(deserialize_ema_model(content, storage, config, dataset))

    example = as_floats(torch.as_tensor(dataset.images[:4])).numpy()
    return TrackedModel(key, f"{folder.path.name}-model", load, example)
