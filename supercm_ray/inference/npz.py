"""Writing npz files whose largest array is not in memory as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from supercm_ray.records import replaced_atomically

Block = npt.NDArray[np.float32]


@contextmanager
def npz_of_blocks(
    path: Path, key: str, shape: tuple[int, int], others: Mapping[str, npt.NDArray[np.generic]]
) -> Iterator[Callable[[Block], None]]:
    """Yields a function that appends rows to an array (N, D) of an npz file, which is in its place after the block.
    Equal arrays give equal files.

    Args:
        path: the file, which is replaced.
        key: the name of the array.
        shape: (N, D) of the array.
        others: further arrays of the file by name.
    """
    with replaced_atomically(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, values in others.items():
            with _member(archive, name) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        with _member(archive, key) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            yield lambda rows: _append(file, rows)


def _append(file: IO[bytes], rows: Block) -> None:
    file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Opens an array of an archive, with a fixed date so that the file depends on its content alone."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)
