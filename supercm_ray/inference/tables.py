"""Tables of predictions and features as csv, parquet or npz files, written row by row and put in place whole."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

import numpy as np

from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.inference.inputs import sample_names
from supercm_ray.inference.npz import npz_of_blocks
from supercm_ray.inference.predictions import Predictions
from supercm_ray.records import replaced_atomically

Columns = Mapping[str, Sequence[object]]
Sink: TypeAlias = Callable[[Predictions], None]
"""A function that appends the predictions of a batch to a file."""


def prediction_columns(predictions: Predictions) -> dict[str, Sequence[object]]:
    """Returns the columns of a table of predictions by name."""
    probabilities = predictions.probabilities.T.tolist()
    return {
        "sample": predictions.names,
        "predicted": predictions.predicted,
        "distance": predictions.distance.tolist(),
        "nearest_class": predictions.nearest,
        **{f"p_{name}": column for name, column in zip(predictions.class_names, probabilities, strict=True)},
    }


def check_outputs(output: Path | None, embed: Path | None) -> None:
    """Checks that these files for predictions and features can be written.

    Raises:
        StudyError: for a file of another kind than csv or parquet, or npz or parquet, and a folder that does not exist.
    """
    for path, kinds, option in ((output, (".csv", ".parquet"), "--output"), (embed, (".npz", ".parquet"), "--embed")):
        if path is not None and path.suffix not in kinds:
            raise StudyError(f"{option} must be a {' or '.join(kinds)} file, got {str(path)!r}; name such a file")
        if path is not None and not path.parent.is_dir():
            raise StudyError(f"the folder of {option} must exist, got {str(path.parent)!r}; make it")


def prediction_file(path: Path) -> AbstractContextManager[Sink]:
    """Opens a csv or parquet file for predictions, a row for each sample."""
    return _csv(path) if path.suffix == ".csv" else _parquet(path, prediction_columns)


def feature_file(path: Path, dataset: Dataset, num_features: int) -> AbstractContextManager[Sink]:
    """Opens an npz or parquet file for the features of a data set's samples, with their names."""
    return _npz(path, dataset, num_features) if path.suffix == ".npz" else _parquet(path, _feature_columns)


def _feature_columns(predictions: Predictions) -> dict[str, Sequence[object]]:
    columns = predictions.features.T.tolist()
    return {"sample": predictions.names, **{f"f{i}": column for i, column in enumerate(columns)}}


@contextmanager
def _npz(path: Path, dataset: Dataset, num_features: int) -> Iterator[Sink]:
    others = {"names": np.array(sample_names(dataset), dtype=np.str_)}
    with npz_of_blocks(path, "features", (len(dataset.labels), num_features), others) as append:
        yield lambda predictions: append(predictions.features)


@contextmanager
def _csv(path: Path) -> Iterator[Sink]:
    begun = False
    with replaced_atomically(path) as partial, _as_text(partial) as file:
        writer = csv.writer(file, lineterminator="\n")

        def add(predictions: Predictions) -> None:
            nonlocal begun
            columns = prediction_columns(predictions)
            if not begun:
                writer.writerow(columns)
                begun = True
            writer.writerows(zip(*(map(_shown, column) for column in columns.values()), strict=True))

        yield add


def _as_text(path: Path) -> TextIO:
    """Opens a file to write, in which names of files keep bytes that are no UTF-8."""
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _shown(value: object) -> object:
    """Returns a number with the digits that fp32 has, nothing for NaN."""
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.7g}"


@contextmanager
def _parquet(path: Path, columns_of: Callable[[Predictions], Columns]) -> Iterator[Sink]:
    import pyarrow  # seconds of import, for such files alone
    from pyarrow import parquet

    writer: parquet.ParquetWriter | None = None
    with replaced_atomically(path) as partial:

        def add(predictions: Predictions) -> None:
            nonlocal writer
            table = pyarrow.table(dict(columns_of(predictions)))
            writer = writer or parquet.ParquetWriter(partial, table.schema)
            writer.write_table(table)

        try:
            yield add
        finally:
            if writer is not None:
                writer.close()
