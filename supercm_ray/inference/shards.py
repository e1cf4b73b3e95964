"""Features computed so far, kept in files beside the output so that a command that was killed goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from supercm_ray.inference.predictions import Floats
from supercm_ray.records import read_text, replaced_atomically, write_atomically

logger = logging.getLogger(__name__)

_FINGERPRINT = "fingerprint.json"


class Shards:
    """Rows of an array (N, D) in files, each named after the number of its first row.

    Attributes:
        num_rows: number of rows stored, from the first on.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Opens the folder, and empties it if its rows are of another array.

        Args:
            folder: the folder, which is created if there is none.
            fingerprint: what the array is computed from.
        """
        self._folder = folder
        written = json.dumps(fingerprint)
        former = read_text(folder / _FINGERPRINT)
        if former and former != written:
            logger.warning("the features begun in %s are of another model or other data, and are not used", folder)
        if former != written:
            self.remove()
            folder.mkdir()
            write_atomically(folder / _FINGERPRINT, written)
        self.num_rows = sum(len(block) for block in self.blocks())

    def append(self, rows: Floats) -> None:
        """Stores further rows."""
        with replaced_atomically(self._folder / f"{self.num_rows:012d}.npy") as partial, partial.open("wb") as file:
            np.save(file, rows)
        self.num_rows += len(rows)

    def blocks(self) -> Iterator[Floats]:
        """Yields the rows stored, block by block."""
        for path in sorted(self._folder.glob("[0-9]*.npy")):
            yield np.load(path, mmap_mode="r", allow_pickle=False)

    def remove(self) -> None:
        """Deletes the folder. No-op if there is none."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)
