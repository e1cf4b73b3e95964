"""Files of arrays and tables, each read by the library of its format: NumPy, SciPy, h5py, PyTorch, safetensors and
pandas.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.data.reasons import listed, reason
from supercm_ray.data.tables import read_csv, read_parquet
from supercm_ray.errors import StudyError

Member = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ArrayFile:
    """An open file of named arrays, or a table of named columns.

    Attributes:
        names: the names of the arrays or columns.
        read: reads one of them.
        is_table: whether it is a table.
        raw_texts: reads the texts that a column of a csv file has before they become numbers.
    """

    names: tuple[str, ...]
    read: Callable[[str], object]
    is_table: bool = False
    raw_texts: Callable[[str], list[str]] | None = None


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """Opens a file of arrays or a table, by the suffix of its name. Errors of the format's library within the `with`
    statement become errors that name the file.

    Raises:
        StudyError: for a file that is missing, damaged, or of another format, and for a library that is missing.
    """
    open_file = _FORMATS.get(path.suffix.lower())
    if open_file is None:
        raise StudyError(
            f"files of arrays and tables must end in {', '.join(_FORMATS)}, got {str(path)!r}; save the data in one of "
            "these formats"
        )
    if not path.is_file():
        raise StudyError(
            f"`data.options` must name files that exist, below data.root, got {str(path)!r}; correct one of both"
        )
    try:
        with open_file(path) as opened:
            yield opened
    except StudyError:
        raise
    except ImportError as error:
        raise StudyError(
            f"a library must be installed to read {str(path)!r}, got: {reason(error)}; pip install 'supercm-ray[data]'"
        ) from error
    except Exception as error:  # damaged files let out errors of zipfile, zlib, pickle, numpy, scipy and others alike
        raise StudyError(
            f"`data.options` must name whole {path.suffix} files, got {str(path)!r}: {reason(error)}; save it anew"
        ) from error


def is_array_file(path: Path) -> bool:
    """Returns whether a name ends like that of a file of arrays or a table."""
    return path.suffix.lower() in _FORMATS


def as_array(value: object, key: str, file: str) -> Member:
    """Returns what a file holds under a key as an array.

    Raises:
        StudyError: for what is no dense array.
    """
    if hasattr(value, "toarray") or (isinstance(value, Tensor) and value.layout != torch.strided):
        raise StudyError(f"arrays must be dense, got a sparse matrix for {key} in {file}; save it as a full array")
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise StudyError(
            f"`{key}` must be an array of one shape in {file}, got {type(value).__name__}: {reason(error)}; save all "
            "samples with one shape"
        ) from error


def check_key(key: str, opened: ArrayFile, file: str) -> None:
    """Checks that a file has an array or column of this name.

    Raises:
        StudyError: if it has not.
    """
    if key not in opened.names:
        kind = "column" if opened.is_table else "array"
        raise StudyError(
            f"the {kind} `{key}` must stand in {file}, got {listed(sorted(opened.names))}; rename one, or set "
            "data.options to one of these"
        )


def _library(name: str) -> ModuleType:
    """Imports a library that only some formats need."""
    return importlib.import_module(name)


@contextmanager
def _open_npz(path: Path) -> Iterator[ArrayFile]:
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        yield ArrayFile(tuple(archive.files), archive.__getitem__)


@contextmanager
def _open_npy(path: Path) -> Iterator[ArrayFile]:
    array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    yield ArrayFile((path.stem,), lambda name: array)


@contextmanager
def _open_mat(path: Path) -> Iterator[ArrayFile]:
    from scipy.io import loadmat, whosmat  # needed for such files alone

    try:
        names = tuple(name for name, _, _ in whosmat(str(path)))
    except NotImplementedError:  # version 7.3, which is HDF5 with the axes in reverse order
        with _open_hdf5(path) as opened:
            names = tuple(name for name in opened.names if not name.startswith("#"))
            yield ArrayFile(names, lambda name: np.asarray(opened.read(name)).T)
        return
    yield ArrayFile(names, lambda name: loadmat(str(path), variable_names=[name])[name])


@contextmanager
def _open_hdf5(path: Path) -> Iterator[ArrayFile]:
    h5py = _library("h5py")
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)

        def read(name: str) -> object:
            if file[name].attrs.get("MATLAB_class") in (b"char", b"cell", b"struct"):
                raise ValueError(f"{name} is text or a cell; save it as numbers, or the file with -v7")
            return file[name][()]

        yield ArrayFile(tuple(names), read)


@contextmanager
def _open_torch(path: Path) -> Iterator[ArrayFile]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, Tensor):
        found = {path.stem: found}
    elif isinstance(found, list | tuple):
        found = {str(i): value for i, value in enumerate(found)}
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__} and no dictionary of tensors")
    members = {str(name): value for name, value in found.items()}
    yield ArrayFile(tuple(members), members.__getitem__)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[ArrayFile]:
    with _library("safetensors").safe_open(str(path), framework="pt") as file:
        yield ArrayFile(tuple(file.keys()), file.get_tensor)


@contextmanager
def _open_csv(path: Path) -> Iterator[ArrayFile]:
    table = read_csv(path)
    yield ArrayFile(table.names, table.read, is_table=True, raw_texts=table.raw_texts)


@contextmanager
def _open_parquet(path: Path) -> Iterator[ArrayFile]:
    table = read_parquet(path)
    yield ArrayFile(table.names, table.read, is_table=True)


_FORMATS: Mapping[str, Callable[[Path], AbstractContextManager[ArrayFile]]] = {
    ".npz": _open_npz,
    ".npy": _open_npy,
    ".mat": _open_mat,
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".parquet": _open_parquet,
    ".pt": _open_torch,
    ".pth": _open_torch,
    ".safetensors": _open_safetensors,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
}
