"""The data set `arrays`: images, encoded images or vectors in files of arrays, and tables. Shapes: N samples, C
channels, H by W pixels, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supercm_ray.config import PlaceConfig
from supercm_ray.data.array_files import ArrayFile, as_array, open_arrays
from supercm_ray.data.array_inputs import ArraysOptions, read_inputs_of, with_columns
from supercm_ray.data.dataset import DATASETS, Dataset, channel_statistics
from supercm_ray.data.decoding import decode_alike
from supercm_ray.data.folders import data_root
from supercm_ray.data.images import Pixels
from supercm_ray.data.labels import FileLabels, join_labels, no_labels, read_labels
from supercm_ray.data.reasons import counted, listed
from supercm_ray.data.samples import Inputs
from supercm_ray.errors import StudyError

_LARGEST_LABEL = 2**53


@dataclass(frozen=True)
class _Part:
    """The samples of one file.

    Attributes:
        inputs: the inputs.
        labels: their labels.
        unlabeled_because: why none has a label; empty if some have.
        notes: sentences about the labels.
    """

    inputs: Inputs
    labels: FileLabels
    unlabeled_because: str
    notes: tuple[str, ...]


@DATASETS.register("arrays", options=ArraysOptions)
def _load_arrays(data: PlaceConfig, options: ArraysOptions) -> Dataset:
    if abs(options.lowest_label) > _LARGEST_LABEL:
        raise StudyError(
            f"`data.options.first_label` must be a label of {options.file} of at most 2^53, got {options.first_label}; "
            "set it to the label of the first class"
        )
    root = data_root(data)
    parts = [_read_part(root, data.name, options)]
    if options.test_file is not None:
        of_test = options.model_copy(update={"file": options.test_file, "label_file": options.test_label_file})
        of_test = decode_alike(with_columns(of_test, parts[0].inputs.columns), parts[0].inputs.decoding)
        parts.append(_read_part(root, data.name, of_test))
        _check_alike(parts, options)
    labels, names, are_own = join_labels([part.labels for part in parts], options.lowest_label, data.name)
    num_train = len(parts[0].inputs.values)
    inputs = _joined([part.inputs.values for part in parts])
    mean, std = _statistics(inputs, num_train if len(parts) > 1 else None)
    return Dataset(
        name=data.name,
        images=inputs,
        labels=labels,
        class_names=names,
        has_class_names=are_own,
        mean=mean,
        std=std,
        test_indices=np.arange(num_train, len(inputs)) if len(parts) > 1 else None,
        sample_names=tuple(name for part in parts for name in part.inputs.names),
        unlabeled_because="" if (labels >= 0).any() else parts[0].unlabeled_because,
        notes=tuple(note for part in parts for note in (*part.inputs.notes, *part.labels.notes, *part.notes)),
        columns=parts[0].inputs.columns,
        decoding=parts[0].inputs.decoding,
    )


def _joined(arrays: list[Pixels]) -> Pixels:
    """Returns arrays one after the other; a single one, which may not be in memory, as it is."""
    if len(arrays) == 1:
        return arrays[0]
    is_bytes = arrays[0].dtype == np.uint8
    return np.concatenate(arrays, dtype=np.uint8) if is_bytes else np.concatenate(arrays, dtype=np.float32)


def _check_alike(parts: list[_Part], options: ArraysOptions) -> None:
    train, test = (part.inputs.values for part in parts)
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise StudyError(
            f"`data.options` must give inputs of one shape and type, got {train.shape[1:]} {train.dtype} in "
            f"{options.file} and {test.shape[1:]} {test.dtype} in {options.test_file}; save them alike"
        )


def _statistics(inputs: Pixels, num_train: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation by channel of the training samples. Without test samples of the data set's
    own they are constants: no statistic may come from what is yet to become the test split.
    """
    if inputs.dtype != np.uint8:
        return (0.0,), (1.0,)
    if num_train is None:
        return (0.5,) * inputs.shape[1], (0.5,) * inputs.shape[1]
    return channel_statistics(inputs[:num_train].astype(np.uint8, copy=False))


def _read_part(root: Path, name: str, options: ArraysOptions) -> _Part:
    with open_arrays(root / options.file) as opened:
        inputs = read_inputs_of(opened, root / options.file, name, options)
        if options.label_file is None:
            return _with_labels(opened, inputs, options, options.file)
    with open_arrays(root / options.label_file) as opened:
        only = opened.names[0] if len(opened.names) == 1 else options.labels_name
        return _with_labels(opened, inputs, options.model_copy(update={"label_key": only}), options.label_file)


def _with_labels(opened: ArrayFile, inputs: Inputs, options: ArraysOptions, file: str) -> _Part:
    """Reads the labels of inputs; if there are none, the samples are unlabeled."""
    key, kind = options.labels_name, "column" if opened.is_table else "array"
    if key is None or key not in opened.names:
        missing = f"has no {kind} `{key}`" if key else "is read without labels"
        because = f"{file} {missing}, only {listed(sorted(opened.names))}"
        return _Part(inputs, no_labels(len(inputs.values)), because, ())
    place = f"`{key}` in {file}"
    values = opened.read(key)
    labels = read_labels(_plain(values, key, file), inputs.num_samples, options.lowest_label, place)
    if len(labels) != inputs.num_samples:
        raise StudyError(
            f"as many labels as inputs must stand in {file}, got {len(labels)} and {inputs.num_samples} for {key} and "
            f"{inputs.key}; save one sample of an array for each label"
        )
    because = f"no value of {place} is a label: all are -1 or missing"
    return _Part(inputs, labels.take(inputs.indices), because, _marked(opened, labels, key, file))


def _plain(values: object, key: str, file: str) -> object:
    """Returns lists and text unchanged, and what a library gives as an array."""
    return values if isinstance(values, list | tuple) else as_array(values, key, file)


def _marked(opened: ArrayFile, labels: FileLabels, key: str, file: str) -> tuple[str, ...]:
    """Returns a note about texts of a csv file, such as NA, that count as missing labels."""
    if opened.raw_texts is None:
        return ()
    marked = [
        f"`{text}` in sample {i}"
        for i, (text, is_known) in enumerate(zip(opened.raw_texts(key), labels.are_known(), strict=True))
        if not is_known and text.strip() not in ("", "nan", "NaN", "-1", "-1.0")
    ]
    return counted(marked, f"{{}} labels of {file} count as missing")
