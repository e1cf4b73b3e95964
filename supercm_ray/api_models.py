"""The commands that use trained models and frozen networks, as functions; `supercm_ray.api` has them too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from supercm_ray.config import import_plugins
from supercm_ray.inference import Embedded, Model, PredictResult
from supercm_ray.inference import embed as _embed
from supercm_ray.inference import predict_files as _predict_files
from supercm_ray.training import choose_device
from supercm_ray.tuning.model import load_model as _load_model

DEFAULT_RESULTS = Path("results")
"""The results folder if none is named."""


def load_model(model: str | Path, *, results: Path = DEFAULT_RESULTS) -> Model:
    """Loads a trained model, without its data set. It predicts with `model.predict(images or paths)`.

    Args:
        model: the name or folder of a tuned study, for its best finalist by validation; the name or folder of a trained
            run; a folder that `Model.save` wrote; or an address in MLflow, `models:/...` or `runs:/...`.
        results: the results folder, for names.

    Raises:
        StudyError: if there is no such model, there are several, or its run has not finished.
        CheckpointError: for a checkpoint that is damaged.
        StorageError: if checkpoints cannot be read.
        TrackingError: if MLflow does not have it.
    """
    return _load_model(model, results)


def predict(
    model: str | Path | Model,
    inputs: Sequence[str | Path],
    *,
    output: Path | None = None,
    embed: Path | None = None,
    batch_size: int = 256,
    device: str = "auto",
    results: Path = DEFAULT_RESULTS,
    progress: Callable[[int, int], None] | None = None,
) -> PredictResult:
    """Predicts the classes of samples in files, batch by batch, and writes them to files; existing ones are replaced.

    Args:
        model: a model, or what `load_model` takes.
        inputs: paths of files and folders, read as the data set that the model was trained on.
        output: the csv or parquet file for the predictions: a row for each sample, with the name of the predicted
            class, the distance to its centroid, the class of the nearest centroid, and the probability of each class.
        embed: the npz or parquet file for the features.
        batch_size: number of samples that pass through the network at a time, from 1.
        device: `cpu`, `cuda`, or `auto` for a GPU if one is visible.
        results: the results folder, for names.
        progress: called with the number of samples done and the number of all.

    Raises:
        StudyError: for inputs that cannot be read, or of another kind or shape than the model was trained on; and as
            for `load_model`.
    """
    loaded = model if isinstance(model, Model) else load_model(model, results=results)
    moved = loaded.to(choose_device(device))
    return _predict_files(
        moved, inputs, output=output, embed=embed, batch_size=batch_size, progress=progress or _no_progress
    )


def embed(
    source: str | Path,
    *,
    model: str,
    output: Path,
    weights: str | None = None,
    image_size: int | None = None,
    plugins: Sequence[str] = (),
    batch_size: int = 64,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[Embedded]:
    """Computes the features of a data set under a frozen backbone, and writes them to a file that `data.name: arrays`
    takes; the same call goes on where one that was killed ended.

    Args:
        source: a study file, whose data section is read; a folder of images; or a file of arrays.
        model: the name of a backbone: torchvision's, `timm/NAME` where timm is installed, or a registered one.
        output: the npz file. Further sources of a study file, such as `data.target`, get files of their own beside it.
        weights: a local file with the weights, `default` for published ones, which needs a network, or `none` for
            random ones; by default `default`.
        image_size: side in pixels that images are scaled to; by default the study file's, or that of published weights.
        plugins: names of modules that register the backbone.
        batch_size: number of samples that pass through the backbone at a time, from 1.
        device: `cpu`, `cuda`, or `auto` for a GPU if one is visible.
        progress: called with the number of samples done and the number of all.

    Raises:
        StudyError: for data that cannot be read, an unknown backbone, and weights that do not fit.
    """
    import_plugins(tuple(plugins))
    return _embed(
        Path(source).expanduser(),
        model=model,
        output=output,
        weights=weights,
        image_size=image_size,
        batch_size=batch_size,
        device=choose_device(device),
        progress=progress or _no_progress,
    )


def _no_progress(done: int, total: int) -> None:
    """No-op."""
