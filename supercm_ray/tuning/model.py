"""Models of finished runs: to be used, and in the form that trackers store."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from supercm_ray.errors import StorageError
from supercm_ray.inference import CARD, Model, of_checkpoint, of_folder, read_card
from supercm_ray.records import CheckpointStore
from supercm_ray.tracking import TrackedModel
from supercm_ray.tuning.found_run import FoundRun, find_run


def load_model(named: str | Path, results: Path) -> Model:
    """Loads a trained model (see `supercm_ray.load_model`)."""
    address = str(named)
    if address.startswith(("models:", "runs:")):
        from supercm_ray.tracking.mlflow.fetch import fetch_model  # seconds of imports, for such models alone

        with tempfile.TemporaryDirectory() as folder:
            return of_folder(fetch_model(address, Path(folder)))
    path = Path(named).expanduser()
    for place in (path, path / "supercm"):
        if (place / CARD).is_file() and not (place / "run.json").is_file():
            return of_folder(place)
    return model_of_run(find_run(named, results))


def model_of_run(found: FoundRun) -> Model:
    """Reads the moving average of the network from a run's last checkpoint.

    Raises:
        StudyError: if the run has no description of its model, or it does not fit.
        StorageError: if there is no checkpoint.
    """
    card = read_card(found.run.card)
    content = CheckpointStore(found.storage).read()
    if content is None:
        raise StorageError(
            f"the last checkpoint of {found.name} must be readable from here, got nothing in {found.storage}; take a "
            "training.storage_path that all processes share, and name a finalist rather than a trial of a search"
        )
    history = found.run.history()
    metrics = {**(history[-1] if history else {}), **found.record.summary}
    numbers = {name: value for name, value in metrics.items() if "/" in name and math.isfinite(value)}
    return of_checkpoint(card.model_copy(update={"metrics": numbers}), content, found.storage)


def tracked_model(found: FoundRun, images: npt.ArrayLike | None = None) -> TrackedModel:
    """Returns the model of a run, which is read when a tracker asks for it.

    Args:
        found: the run.
        images: at least two images or vectors as an example of inputs; by default empty ones.
    """
    load, card = cache(lambda: model_of_run(found)), read_card(found.run.card)
    blank = np.zeros((4, *card.shape), dtype=card.dtype)
    example = blank if images is None else torch.as_tensor(images).numpy()
    return TrackedModel(
        run=found.record.key,
        name=f"{found.folder.path.name}-model",
        load=lambda: load().predictor,
        example=example if example.dtype.kind == "u" else example[:, :, 0, 0],
        save=lambda folder: load().save(folder),
        class_names=card.class_names,
    )
