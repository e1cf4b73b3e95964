"""Features of a whole data set under a frozen backbone, as a file that `data.name: arrays` takes."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from supercm_ray.data import Dataset, as_floats
from supercm_ray.data.images import StreamedImages
from supercm_ray.errors import StudyError
from supercm_ray.inference.frozen import BackboneChoice, FrozenBackbone
from supercm_ray.inference.inputs import sample_names, taken_batches
from supercm_ray.inference.npz import npz_of_blocks
from supercm_ray.inference.predictions import Floats
from supercm_ray.inference.shards import Shards
from supercm_ray.inference.sources import read_sources, study_of
from supercm_ray.models import PUBLISHED
from supercm_ray.records import replaced_atomically

logger = logging.getLogger(__name__)

SECONDS_PER_SHARD = 10.0
"""Seconds after which the features computed since the last time are stored."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedded:
    """A file of features.

    Attributes:
        path: the file.
        splits: the file with the indices of the data set's own test and validation samples, if it has some.
        num_samples: number of samples N.
        num_features: number of features D.
    """

    path: Path
    splits: Path | None
    num_samples: int
    num_features: int


def embed_dataset(
    dataset: Dataset,
    backbone: FrozenBackbone,
    output: Path,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> Embedded:
    """Computes the features of all samples of a data set, in its order, and writes them to an npz file with the arrays
    `features`, `labels` (names of classes), `names` and `class_names`. Goes on where a call that was killed ended.

    Args:
        dataset: the data set.
        backbone: the backbone.
        output: the npz file, which is replaced.
        batch_size: number of samples that pass through the backbone at a time.
        device: the device to compute on.
        progress: told how many of all samples are done.
    """
    num_samples = len(dataset.labels)
    mark = {"model": backbone.fingerprint, "data": _fingerprint(dataset), "batch_size": batch_size}
    shards = Shards(output.with_name(f".{output.name}.parts"), json.dumps(mark))
    if shards.num_rows:
        logger.warning("goes on after %d of %d samples that were done before", shards.num_rows, num_samples)
    progress(shards.num_rows, num_samples)
    _compute(dataset, backbone.to(device), shards, batch_size, device, progress)
    others = {
        "labels": _labels(dataset),
        "names": np.array(sample_names(dataset), dtype=np.str_),
        "class_names": np.array(dataset.class_names, dtype=np.str_),
    }
    with npz_of_blocks(output, "features", (num_samples, backbone.num_features), others) as append:
        for block in shards.blocks():
            append(block)
    splits = _write_splits(dataset, output)
    shards.remove()
    return Embedded(output, splits, num_samples, backbone.num_features)


@torch.no_grad()
def _compute(
    dataset: Dataset,
    backbone: FrozenBackbone,
    shards: Shards,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> None:
    num_samples, done, began = len(dataset.labels), shards.num_rows, time.monotonic()
    if done == num_samples:
        return
    waiting: list[Floats] = []
    indices = torch.split(torch.arange(done, num_samples), batch_size)
    for images in taken_batches(dataset, indices):
        features = backbone(as_floats(images.to(device))).float().cpu()
        _check_finite(features, sample_names(dataset)[done:])
        waiting.append(features.numpy())
        done += len(images)
        progress(done, num_samples)
        if time.monotonic() - began >= SECONDS_PER_SHARD or done == num_samples:
            shards.append(np.concatenate(waiting))
            waiting, began = [], time.monotonic()


def _check_finite(features: torch.Tensor, names: Sequence[str]) -> None:
    broken = torch.nonzero(~features.isfinite().all(dim=1))
    if len(broken):
        raise StudyError(
            f"features must be finite numbers, got others for sample {names[int(broken[0])]}; check the weights that "
            "--weights names, and the inputs"
        )


def _fingerprint(dataset: Dataset) -> str:
    """Returns the SHA-256 of a data set: of its pixels, or of the names, sizes and times of its files."""
    digest = hashlib.sha256(json.dumps([dataset.name, dataset.images.shape, dict(dataset.decoding)]).encode())
    if isinstance(dataset.images, StreamedImages):
        files: tuple[Path, ...] = getattr(dataset.images, "files", ())
        facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        digest.update(json.dumps([facts, list(sample_names(dataset))]).encode())
    else:
        for block in np.array_split(np.arange(len(dataset.labels)), max(1, len(dataset.labels) // 1024)):
            digest.update(np.ascontiguousarray(dataset.images[block]).tobytes())
    digest.update(dataset.labels.tobytes())
    return digest.hexdigest()


def _labels(dataset: Dataset) -> npt.NDArray[np.generic]:
    """Returns the names of the samples' classes, empty where unknown, so that studies on the features have them; or
    their numbers if the classes have no names.
    """
    if not dataset.has_class_names or not dataset.class_names:
        return dataset.labels
    return np.array([*dataset.class_names, ""], dtype=np.str_)[dataset.labels]  # -1 takes the last


def _write_splits(dataset: Dataset, output: Path) -> Path | None:
    """Writes the data set's own test and validation samples to a file that `data.splits` takes."""
    val = dataset.val_indices
    own = {"test": dataset.test_indices, "val": val}
    given = {name: indices for name, indices in own.items() if indices is not None}
    if not given:
        return None
    path = output.with_name(f"{output.stem}_splits.npz")
    with replaced_atomically(path) as partial, partial.open("wb") as file:
        np.savez(file, **given)  # type: ignore[arg-type]  # its one flag is all that is typed
    return path


def embed(
    source: Path,
    *,
    model: str,
    output: Path,
    weights: str | None,
    image_size: int | None,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> list[Embedded]:
    """Computes the features of the data sets of a source (see `supercm_ray.embed`)."""
    _check_output(output)
    config = study_of(source)
    is_studys = config is not None and config.model.name == model
    options = config.model.options.model_dump() if config is not None and is_studys else {}
    choice = BackboneChoice(model, weights or options.get("weights") or PUBLISHED, options, image_size)
    made = []
    for key, dataset, side in read_sources(source, config, choice):
        path = output.with_name(f"{output.stem}_{key}.npz") if key else output
        backbone = FrozenBackbone(choice, dataset, side)
        made.append(embed_dataset(dataset, backbone, path, batch_size=batch_size, device=device, progress=progress))
    return made


def _check_output(output: Path) -> None:
    if output.suffix != ".npz":
        raise StudyError(f"--output must be a .npz file, got {str(output)!r}; name such a file")
    if not output.parent.is_dir():
        raise StudyError(f"the folder of --output must exist, got {str(output.parent)!r}; make it")
