"""What is found with the data at hand, before anything is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import load_study
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.training import preflight
from supercm_ray.training.preflight import load_checked

STUDY = """\
base:
  data: {name: arrays, options: {file: vectors.npz}, labels_per_class: 3}
  model: {name: mlp, options: {channels: [8]}}
space:
  algorithm.name: {type: categorical, choices: [supervised, fixmatch]}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPERCM_DATA", str(tmp_path))
    labels = np.repeat(np.arange(3), 30)
    vectors = np.random.default_rng(0).normal(size=(len(labels), 5)).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", images=vectors, labels=labels)
    (tmp_path / "vectors.yaml").write_text(STUDY)
    return tmp_path / "vectors.yaml"


def test_an_algorithm_of_two_views_needs_views_that_differ(path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"`data\.noise_std > 0` must hold for algorithm\.name=fixmatch .*vectors\.yaml"
    ):
        load_checked(load_study(path))
    assert load_checked(load_study(path, ["data.noise_std=0.1"])).shape == (5, 1, 1)


BATCHES = {
    "one labeled": (["training.labeled_batch_size=1", "training.unlabeled_batch_size=0"], "take larger batches"),
    "one of each of two workers": (
        [
            *("training.labeled_batch_size=2", "training.unlabeled_batch_size=0"),
            *("training.sync_batch_norm=false", "budget.num_workers=2"),
        ],
        "for 2 workers .*set training.sync_batch_norm=true",
    ),
    "one unlabeled by itself": (
        ["training.unlabeled_batch_size=1", "algorithm.name=fixmatch", "data.noise_std=0.1"],
        "got 1 with labeled_batch_size=50, unlabeled_batch_size=1",
    ),
    "the least that is searched": (
        [
            "training.unlabeled_batch_size=0",
            "space={training.labeled_batch_size: {type: int, low: 1, high: 4}}",
        ],
        "labeled_batch_size=1",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), BATCHES.values(), ids=BATCHES)
def test_batch_norm_needs_two_samples(path: Path, overrides: list[str], message: str) -> None:
    space = [override for override in overrides if override.startswith("space")]
    path.write_text(STUDY.partition("space:")[0] + "".join(f"space: {each[6:]}\n" for each in space))
    study = load_study(path, [override for override in overrides if override not in space])
    with pytest.raises(StudyError, match=message) as caught:
        load_checked(study)
    assert "\n" not in str(caught.value)
    assert "vectors.yaml" in str(caught.value)


def test_one_sample_is_enough_without_batch_norm(path: Path) -> None:
    path.write_text(STUDY.partition("space:")[0])
    batches = ["training.labeled_batch_size=1", "training.unlabeled_batch_size=0"]
    assert load_checked(load_study(path, ["model.frozen=true", *batches])).shape == (5, 1, 1)
    assert load_checked(load_study(path, ["training.unlabeled_batch_size=1"])).shape == (5, 1, 1)


AUGMENTATIONS = {
    "wide mirror": (
        ["data.shift_padding=reflect", "data.shift_pixels=6"],
        r"`data\.shift_pixels < 6`.*got 6; lower it",
    ),
    "two channels": (
        ["data.strong.name=randaugment"],
        r"1 or 3 channels .* got 2; set data\.strong\.name=basic",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_an_augmentation_takes_the_images(path: Path, overrides: list[str], message: str, monkeypatch) -> None:
    images = np.zeros((90, 2, 6, 8), dtype=np.uint8)
    dataset = Dataset("two channels", images, np.repeat(np.arange(3), 30), tuple("abc"), (0.5, 0.5), (0.5, 0.5))
    monkeypatch.setattr(preflight, "load_dataset", lambda data: dataset)
    with pytest.raises(StudyError, match=message):
        load_checked(load_study(path, [*overrides, "data.noise_std=0.1", "algorithm.name=fixmatch"]))
