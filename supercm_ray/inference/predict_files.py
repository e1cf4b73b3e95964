"""Predictions for files, written to files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.data import Dataset
from supercm_ray.inference.inputs import as_dataset
from supercm_ray.inference.model import Model
from supercm_ray.inference.predictions import Predictions
from supercm_ray.inference.tables import check_outputs, feature_file, prediction_file

Progress = Callable[[int, int], None]
"""A function that is told how many of all samples are done."""


@dataclass(frozen=True)
class PredictResult:
    """A summary of predictions.

    Attributes:
        counts: number of samples predicted as each class, by name.
        first: the predictions of the first batch.
    """

    counts: dict[str, int]
    first: Predictions


def predict_to_file(model: Model, dataset: Dataset, path: Path, indices: npt.NDArray[np.int64]) -> None:
    """Writes predictions for these samples of a data set to a csv or parquet file."""
    with prediction_file(path) as add:
        for predictions in model.predict_batches(dataset, indices=indices):
            add(predictions)


def predict_files(
    model: Model,
    inputs: Sequence[str | Path],
    *,
    output: Path | None,
    embed: Path | None,
    batch_size: int,
    progress: Progress,
) -> PredictResult:
    """Predicts the classes of samples in files, batch by batch (see `supercm_ray.predict`)."""
    check_outputs(output, embed)
    dataset = as_dataset(model.card, inputs)
    counts: Counter[int] = Counter()
    first: Predictions | None = None
    done = 0
    with ExitStack() as files:
        sinks = [files.enter_context(prediction_file(output))] if output else []
        sinks += [files.enter_context(feature_file(embed, dataset, model.num_features))] if embed else []
        progress(0, len(dataset.labels))
        for predictions in model.predict_batches(dataset, batch_size=batch_size):
            for add in sinks:
                add(predictions)
            counts.update(predictions.indices.tolist())
            first = first or predictions
            done += len(predictions)
            progress(done, len(dataset.labels))
    assert first is not None, "as_dataset refuses inputs without samples"
    return PredictResult({name: counts[k] for k, name in enumerate(model.class_names)}, first)
