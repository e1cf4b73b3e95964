"""A run of digits, trained in a second, and its test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import supercm_ray
from supercm_ray.config import Config, DataConfig, ModelConfig, Study, TrainingConfig
from supercm_ray.data import Dataset
from supercm_ray.inference import Model

TINY = Config(
    data=DataConfig(label_ratio=0.1),
    model=ModelConfig(options={"channels": (4, 8)}),
    training=TrainingConfig(num_epochs=2, steps_per_epoch=4, learning_rate=1e-2, device="cpu"),
)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder with a run of the study `tiny` that has read the test split. Tests only read it."""
    made = tmp_path_factory.mktemp("inference") / "results"
    study = Study(name="tiny", base=TINY, tracking=("none",))
    supercm_ray.train(study, results=made, evaluate_test=True)
    return made


@pytest.fixture(scope="session")
def run(results: Path) -> Path:
    """The folder of that run."""
    return next(results.glob("train/tiny-*/train/tiny"))


@pytest.fixture(scope="session")
def model(run: Path) -> Model:
    """The model of that run."""
    return supercm_ray.load_model(run)


@pytest.fixture(scope="session")
def pixels(digits: Dataset, run: Path) -> npt.NDArray[np.uint8]:
    """The images (N, H, W) of the test split."""
    with np.load(run / "splits.npz") as splits:
        return digits.images[splits["test"], 0]


@pytest.fixture
def images(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """A folder with the first seven of these images as files."""
    (tmp_path / "images").mkdir()
    for i in range(7):
        Image.fromarray(pixels[i]).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"
