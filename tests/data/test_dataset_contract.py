"""Every kind of data set keeps the contract, and so does one that a user adds; a broken one does not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from pydantic import Field

from supercm_ray.config import OptionsModel, PlaceConfig
from supercm_ray.data import DATASETS, Dataset, channel_statistics
from supercm_ray.data.classes import check_classes
from supercm_ray.errors import StudyError
from supercm_ray.testing.dataset import DatasetContract


def noise(num_samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_samples, *shape)).astype(np.uint8)


def encoded(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of images as PNG, one after the other, and where each begins and ends."""
    buffers = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, buffers, strict=True):
        Image.fromarray(image).save(buffer, format="PNG")
    parts = [buffer.getvalue() for buffer in buffers]
    return np.frombuffer(b"".join(parts), dtype=np.uint8), np.cumsum([0, *map(len, parts)])


class TestDigits(DatasetContract):
    name = "digits"


class TestBlurredDigits(DatasetContract):
    name = "digits_odd_blurred"


class TestArraysOfVectors(DatasetContract):
    name = "arrays"
    options: ClassVar[dict[str, object]] = {
        "file": "a.npz",
        "label_key": "y",
        "first_label": 1,
        "l2_normalise": True,
    }

    def write(self, folder: Path) -> None:
        np.savez(folder / "a.npz", images=noise(60, 5).astype(np.float32), y=np.arange(60) % 3 + 1)


class TestArraysWithTestSamples(DatasetContract):
    name = "arrays"
    options: ClassVar[dict[str, object]] = {"file": "a.npz", "test_file": "b.npz"}

    def write(self, folder: Path) -> None:
        for name, num in (("a", 60), ("b", 21)):
            np.savez(folder / f"{name}.npz", images=noise(num, 4, 4), labels=np.arange(num) % 3)


class TestEncodedArrays(DatasetContract):
    name = "arrays"
    options: ClassVar[dict[str, object]] = {
        "file": "a.npz",
        "input_key": "png",
        "offsets_key": "at",
        "image_size": 4,
    }

    def write(self, folder: Path) -> None:
        data, places = encoded(noise(60, 4, 5, 3))
        np.savez(folder / "a.npz", png=data, at=places, labels=np.arange(60) % 3)


class TestImageFolder(DatasetContract):
    name = "image_folder"
    options: ClassVar[dict[str, object]] = {"image_size": 6, "stream": "off"}

    def write(self, folder: Path) -> None:
        for i, pixels in enumerate(noise(60, 7, 8, 3)):
            place = folder / ("cat", "dog", "owl")[i % 3]
            place.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(place / f"{i:02}.png")


class TestStreamedImageFolder(TestImageFolder):
    options: ClassVar[dict[str, object]] = {"image_size": 6, "stream": "on"}


class TestTable(DatasetContract):
    name = "arrays"
    options: ClassVar[dict[str, object]] = {"file": "a.csv", "label_key": "kind"}

    def write(self, folder: Path) -> None:
        rows = [f"{a},{b},{('cat', 'dog')[i % 2]}" for i, (a, b) in enumerate(noise(60, 2))]
        (folder / "a.csv").write_text("\n".join(["a,b,kind", *rows]))


class TestImageFolderWithParts(DatasetContract):
    name = "image_folder"
    options: ClassVar[dict[str, object]] = {"image_size": 6}

    def write(self, folder: Path) -> None:
        for i, pixels in enumerate(noise(60, 7, 8, 3)):
            place = folder / ("train", "train", "test")[i // 2 % 3] / ("cat", "dog")[i % 2]
            place.mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels).save(place / f"{i:02}.png")


class StripesOptions(OptionsModel):
    """Options of the plug-in."""

    num_samples: int = Field(60, ge=6)
    """Samples, whose last sixth is the test."""


def stripes(place: PlaceConfig, options: StripesOptions) -> Dataset:
    """A data set as a user would write one."""
    labels = np.arange(options.num_samples) % 2
    images = np.where(labels[:, None, None, None] == 1, noise(options.num_samples, 1, 4, 4), 128).astype(np.uint8)
    first = options.num_samples * 5 // 6
    mean, std = channel_statistics(images[:first])
    test = np.arange(first, options.num_samples)
    return Dataset(place.name, images, labels, ("flat", "noisy"), mean, std, test_indices=test)


def careless(place: PlaceConfig, options: OptionsModel) -> Dataset:
    """The same with one name for both classes, statistics of the test samples, and a test sample given twice."""
    dataset = stripes(place, StripesOptions())
    mean, std = channel_statistics(dataset.images)
    test = np.append(dataset.test_indices, 59)
    return Dataset(place.name, dataset.images, dataset.labels, ("a", "a"), mean, std, test_indices=test)


@pytest.fixture(scope="module", autouse=True)
def plug_ins() -> Iterator[None]:
    DATASETS.register("stripes", options=StripesOptions)(stripes)
    DATASETS.add("careless", careless)
    yield
    DATASETS.remove("stripes")
    DATASETS.remove("careless")


def test_labels_beyond_the_classes_are_refused() -> None:
    dataset = stripes(PlaceConfig(), StripesOptions())
    with pytest.raises(StudyError, match=r"class indices below 2, or -1, for data\.name=digits, got 2"):
        check_classes(replace(dataset, labels=dataset.labels + 1))


class TestPlugIn(DatasetContract):
    name = "stripes"
    options: ClassVar[dict[str, object]] = {"num_samples": 90}


@pytest.mark.parametrize(
    "test",
    [
        "test_labels_count_the_classes",
        "test_statistics_do_not_come_from_test_samples",
        "test_test_samples_are_some_and_no_others",
    ],
)
def test_the_contract_finds_a_careless_data_set(test: str, tmp_path: Path) -> None:
    suite = type("Suite", (DatasetContract,), {"name": "careless"})()
    with pytest.raises((AssertionError, IndexError)):
        getattr(suite, test)(tmp_path)
