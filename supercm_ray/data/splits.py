"""The splits of a run as indices of samples: labeled, unlabeled, validation and test samples."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.records import read_arrays, reading, write_arrays

_REMEDY = "remove it, and the command that began the run writes it anew"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Four sorted arrays of sample indices. They are disjoint, except that the unlabeled samples contain the labeled
    ones under `data.labeled_in_unlabeled`, and the test samples under `data.transductive`. There may be no test sample.
    """

    labeled: Indices
    unlabeled: Indices
    val: Indices
    test: Indices

    @property
    def label_budget(self) -> int:
        """Number of labels that training and selection use, those for validation included."""
        return len(self.labeled) + len(self.val)

    @property
    def training(self) -> Indices:
        """The samples that training sees, with or without their label."""
        return np.union1d(self.labeled, self.unlabeled)

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by the name of the split."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}

    def save(self, path: Path) -> None:
        """Writes an npz file, one array by the name of each split."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    def serialize(self) -> bytes:
        """Returns the splits as bytes, a few kilobytes for tens of thousands of samples."""
        parts = [getattr(self, field.name) for field in fields(self)]
        memberships = np.zeros(max((int(part[-1]) + 1 for part in parts if len(part)), default=0), dtype=np.uint8)
        for bit, part in enumerate(parts):
            memberships[part] |= 1 << bit
        return zlib.compress(memberships.tobytes(), level=1)

    @classmethod
    def deserialize(cls, content: bytes) -> Splits:
        """Returns the splits that `serialize` made."""
        memberships = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
        return cls(*(np.flatnonzero(memberships & (1 << bit)) for bit in range(len(fields(cls)))))

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Reads what `save` wrote.

        Raises:
            DamagedError: if there is no such file, or it holds anything else.
        """
        arrays = read_arrays(path, _REMEDY)
        with reading(path, _REMEDY):
            return cls(**{field.name: arrays[field.name].astype(np.int64, casting="safe") for field in fields(cls)})
