"""Data sets as a reader gives them, and small files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supercm_ray.config import PlaceConfig
from supercm_ray.data import DATASETS, Dataset
from supercm_ray.errors import StudyError


def read(name: str, root: Path, **options: object) -> Dataset:
    """The data set as its reader gives it, whatever its role in a study."""
    place = PlaceConfig(name=name, root=str(root), options=options)
    return DATASETS.find(name).make(place, place.options)


def refused(name: str, root: Path, **options: object) -> str:
    with pytest.raises(StudyError) as caught:
        read(name, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save(image: np.ndarray | Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


__all__ = ["noise", "read", "refused", "save"]
