"""Tables of csv, tsv and parquet files, read by pandas."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Table:
    """A table of named columns.

    Attributes:
        frame: pandas' data frame.
        path: the file it was read from.
    """

    frame: object
    path: Path

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(map(str, self.frame.columns))  # type: ignore[attr-defined]

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Returns a column: numbers with NaN for what is missing, or objects with None."""
        column = self.frame.iloc[:, self.names.index(name)]  # type: ignore[attr-defined]
        types = _pandas().api.types
        if types.is_numeric_dtype(column.dtype):
            if isinstance(column.dtype, np.dtype):
                return np.asarray(column.to_numpy())
            return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        found = np.empty(len(column), dtype=object)
        found[:] = list(column.astype(object).where(column.notna(), None))
        return found

    def raw_texts(self, name: str) -> list[str]:
        """Returns a column of a csv file as it is written there."""
        options = {"dtype": str, "keep_default_na": False, "usecols": [self.names.index(name)]}
        texts: list[str] = _pandas().read_csv(self.path, sep=_separator(self.path), **options).iloc[:, 0].tolist()
        return texts


def read_csv(path: Path) -> Table:
    """Reads a file of values separated by commas, or by tabs if its name ends in tsv; the first line names them."""
    pandas = _pandas()
    with warnings.catch_warnings():  # of lines that are longer than the first, whose rest would be lost
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        return Table(pandas.read_csv(path, sep=_separator(path), index_col=False, low_memory=False), path)


def read_parquet(path: Path) -> Table:
    """Reads a parquet file."""
    return Table(_pandas().read_parquet(path), path)


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _pandas() -> ModuleType:
    return importlib.import_module("pandas")  # seconds of import, which only tables need
