"""The folder that holds data sets."""

from __future__ import annotations

import os
from pathlib import Path

from supercm_ray.config import PlaceConfig
from supercm_ray.errors import StudyError

ROOT_VARIABLE = "SUPERCM_DATA"


def data_root(data: PlaceConfig, *, may_be_missing: bool = False) -> Path:
    """Returns the folder of the data sets: `data.root`, or the one that SUPERCM_DATA names.

    Raises:
        StudyError: if neither is set, or the folder does not exist and must.
    """
    named = data.root or os.environ.get(ROOT_VARIABLE)
    if not named:
        raise StudyError(
            f"`data.root` must name the folder of the data for {data.name}, got nothing; set it, or {ROOT_VARIABLE}"
        )
    root = Path(named).expanduser()
    if not root.is_dir() and not may_be_missing:
        raise StudyError(f"`data.root` must be a folder, got {str(root)!r}; make it, or set data.root to another")
    return root
