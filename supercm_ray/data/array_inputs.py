"""Inputs from an open file of arrays or a table. Shapes: N samples, C channels, H by W pixels, D features."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from supercm_ray.config import OptionsModel
from supercm_ray.data.array_files import ArrayFile, Member, as_array, check_key
from supercm_ray.data.decoding import DecodingOptions
from supercm_ray.data.reasons import counted, listed
from supercm_ray.data.samples import Inputs, cut_images, from_array, from_encoded
from supercm_ray.errors import StudyError

Options = TypeVar("Options", bound=OptionsModel)


class ArraysOptions(DecodingOptions):
    """Options of `arrays`: names of files, and of the arrays or columns in them. Files end in npz, npy, mat, csv, tsv,
    parquet, pt, pth, safetensors, h5 or hdf5. Samples of an npy file stay on disk until they are needed, if they are
    fp32 vectors, grey images or images with channels first. Options of decoding apply to images.
    """

    inherited: ClassVar[frozenset[str]] = DecodingOptions.inherited | frozenset(
        ("input_key", "offsets_key", "label_key", "first_label", "l2_normalise")
    )

    file: str
    """Path of the file with the samples, relative to `root`."""
    test_file: str | None = None
    """Path of the file with the test samples, relative to `root`. None: they are taken from `file` by
    `test_fraction`."""
    label_file: str | None = None
    """Path of the file with the labels, relative to `root`. None: they are in `file`."""
    test_label_file: str | None = None
    """Path of the file with the labels of `test_file`, relative to `root`. None: they are in `test_file`."""
    input_key: str | tuple[str, ...] | None = None
    """Name of the array of inputs: images (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, of whole
    numbers or floats, vectors (N, D), or, with `offsets_key`, the concatenated bytes of encoded images. In a table: a
    column, a pattern such as `pixel_*`, or a list of these, which other
    files ignore; a single column of text names image files, relative to
    the table's folder. None: in a table all columns of numbers but the labels and the unnamed row numbers that pandas
    writes; elsewhere the array `images`, or the only one besides the labels."""
    offsets_key: str | None = None
    """Name of the array of the N + 1 byte positions at which encoded images begin and the last one ends."""
    label_key: str | None = None
    """Name of the array or column of labels: N whole numbers or class names, or N one-hot rows. -1, NaN, None and
    empty text mean unlabeled, as does a file without this array. None: `labels`. Empty text: labels are not read."""
    first_label: int | None = None
    """Label of the first class in the file, such as 0 or 1. None: 0."""
    l2_normalise: bool = False
    """Whether to divide each vector by its Euclidean length."""

    @property
    def labels_name(self) -> str | None:
        """The name of the array or column of labels; None if labels are not read."""
        return "labels" if self.label_key is None else self.label_key or None

    @property
    def lowest_label(self) -> int:
        """The label of the first class in the file."""
        return self.first_label or 0


def read_inputs_of(opened: ArrayFile, path: Path, name: str, options: ArraysOptions) -> Inputs:
    """Reads the inputs of a file.

    Args:
        opened: the open file.
        path: its path.
        name: the name of the data set, for messages.
        options: the names of arrays or columns, and how images are decoded.

    Raises:
        StudyError: for inputs that are neither images nor vectors.
    """
    if opened.is_table:
        return _from_table(opened, path, name, options)
    key = _input_key(opened, path, options)
    inputs = as_array(opened.read(key), key, path.name)
    if options.offsets_key is None:
        return from_array(inputs, key, path.name, options, l2_normalise=options.l2_normalise)
    check_key(options.offsets_key, opened, path.name)
    offsets = as_array(opened.read(options.offsets_key), options.offsets_key, path.name)
    return from_encoded(cut_images(inputs, offsets, key, options.offsets_key, path.name), name, options, key)


def _input_key(opened: ArrayFile, path: Path, options: ArraysOptions) -> str:
    if isinstance(options.input_key, str):
        check_key(options.input_key, opened, path.name)
        return options.input_key
    others = [name for name in opened.names if name not in (options.labels_name, options.offsets_key)]
    if "images" in others or len(others) == 1:
        return "images" if "images" in others else others[0]
    raise StudyError(
        f"`data.options.input_key` must name the array of inputs in {path.name}, got {options.input_key or 'nothing'}; "
        f"set it to one of {listed(sorted(opened.names))}"
    )


def input_columns(opened: ArrayFile, file: str, options: ArraysOptions) -> tuple[str, ...]:
    """Returns the columns of a table that `input_key` names; by default all but the labels and pandas' row numbers.

    Raises:
        StudyError: for a column or pattern that names none.
    """
    others = tuple(name for name in opened.names if name not in (options.labels_name, "Unnamed: 0"))
    if options.input_key is None:
        return others
    found: list[str] = []
    for key in (options.input_key,) if isinstance(options.input_key, str) else options.input_key:
        matching = [key] if key in opened.names else [name for name in others if fnmatchcase(name, key)]
        if not matching:
            check_key(key, opened, file)
        found += [name for name in matching if name not in found]
    return tuple(found)


def with_columns(options: Options, columns: tuple[str, ...]) -> Options:
    """Returns options by which a table is read with these columns in this order, as another was, whatever their order
    in the file, unless the options name others.
    """
    if not isinstance(options, ArraysOptions) or not columns:
        return options
    named = options.input_key
    patterns = ("*",) if named is None else (named,) if isinstance(named, str) else named
    are_named = all(any(column == one or fnmatchcase(column, one) for one in patterns) for column in columns)
    return options.model_copy(update={"input_key": columns}) if are_named else options


def _from_table(opened: ArrayFile, path: Path, name: str, options: ArraysOptions) -> Inputs:
    keys = input_columns(opened, path.name, options)
    columns = {key: np.asarray(opened.read(key)) for key in keys}
    texts = [key for key, column in columns.items() if column.dtype.kind not in "iufb"]
    if len(keys) == 1 and texts and columns[texts[0]].size:
        return _from_text_column(columns[texts[0]], texts[0], path, name, options)
    if options.input_key is not None and texts:
        row, value = _first_text(columns[texts[0]])
        raise StudyError(
            f"every column of inputs must hold numbers for {path.name}, got {str(value)[:40]!r} in row {row} of "
            f"`{texts[0]}`; mend it, or leave the column out of data.options.input_key"
        )
    left_out = counted([f"`{key}`" for key in texts], f"left out {{}} columns of {path.name} that hold no numbers")
    numbers = {name: column for name, column in columns.items() if column.dtype.kind in "iufb"}
    if not numbers:
        raise StudyError(
            f"a table must have a column of numbers for the inputs of {path.name}, got {listed(opened.names)}; save one"
            ", or name a column of image files in data.options.input_key"
        )
    key = f"{len(numbers)} columns" if len(numbers) > 1 else keys[0]
    values = np.column_stack(list(numbers.values()))
    made = from_array(values, key, path.name, options, l2_normalise=options.l2_normalise)
    return replace(made, columns=tuple(numbers), notes=left_out + made.notes)


def _first_text(column: Member) -> tuple[int, object]:
    """Returns the first row of a column of objects that holds no number."""
    for row, value in enumerate(column.tolist()):
        try:
            float(value)
        except (TypeError, ValueError):
            return row, value
    return 0, column[0]


def _from_text_column(column: Member, key: str, path: Path, name: str, options: ArraysOptions) -> Inputs:
    """Reads a column of vectors, or of names of image files."""
    values = column.tolist()
    if all(isinstance(value, list | tuple | np.ndarray) for value in values):
        try:
            return from_array(
                np.stack([np.asarray(value) for value in values]),
                key,
                path.name,
                options,
                l2_normalise=options.l2_normalise,
            )
        except ValueError as error:
            raise StudyError(
                f"all vectors must have one length for {key} in {path.name}, got several; mend these rows"
            ) from error
    broken = [i for i, value in enumerate(values) if not isinstance(value, str) or not (path.parent / value).is_file()]
    if broken:
        raise StudyError(
            f"a column of inputs must hold numbers, vectors or names of files in {path.parent} for {key} in "
            f"{path.name}, got {str(values[broken[0]])[:60]!r} in row {broken[0]} and {len(broken)} such rows; mend "
            "them"
        )
    return from_encoded([(path.parent / value, value) for value in values], name, options, key, are_names=True)
