"""Small data sets, each of a kind that was once taken wrongly: the right value, or one error with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_wine
from sources import checked, config, metrics, save, stopped

from supercm_ray.data import UNLABELED
from supercm_ray.errors import DivergedError


def blobs(num_samples: int = 240, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of four classes that are easy to tell apart, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(num_samples) % 4)
    centers = 3 * np.random.default_rng(9).normal(size=(4, 8))
    return centers[labels] + rng.normal(size=(num_samples, 8)) + shift, labels


def shapes(num_samples: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Grey images (N, 12, 12) of a square, a cross and a bar on dark noise, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(num_samples) % 3)
    images = rng.integers(0, 40, (num_samples, 12, 12))
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, 4, 2)
        part = image[top : top + 8, left : left + 8]
        part[3:5] = 220
        part[:, 3:5] = np.where(label == 2, part[:, 3:5], 220)
        part[:] = np.where(label == 0, 200, part)
    return images.astype(np.uint8), labels


SHORT = {"training.num_epochs": 2, "training.learning_rate": 1e-2}


def arrays(root: Path, file: str = "a.npz", **data: object) -> dict[str, object]:
    """A data section for vectors in a file."""
    return {"name": "arrays", "root": str(root), "options": {"file": file}, **data}


def folder(root: Path, **data: object) -> dict[str, object]:
    """A data section for a folder of images."""
    return {"name": "image_folder", "root": str(root), "options": {"image_size": 12}, "labels_per_class": 8, **data}


def write_folder(root: Path, as_image: Callable[[np.ndarray], Image.Image], suffix: str = "png") -> None:
    for i, (image, label) in enumerate(zip(*shapes(), strict=True)):
        save(as_image(image), root / ("square", "cross", "bar")[label] / f"{i}.{suffix}")


@pytest.mark.parametrize(("load", "least"), [(load_wine, 0.9), (load_breast_cancer, 0.85)])
def test_raw_features_gain_in_any_unit(load: Callable[[], object], least: float, tmp_path: Path) -> None:
    """As scikit-learn gives them, with features of very different spreads; from 0.43 with clustering."""
    bunch = load()

    def accuracy(scale: float, seed: int, weight: float) -> float:
        np.savez(tmp_path / "a.npz", images=bunch.data * scale, labels=bunch.target)  # type: ignore[attr-defined]
        chosen = {"seed": seed, "algorithm.clustering_weight": weight, **SHORT}
        return metrics(config(arrays(tmp_path, labels_per_class=5), **chosen))["test/accuracy"]

    ours, theirs = ([accuracy(1, seed, weight) for seed in range(4)] for weight in (1.0, 0.0))
    assert np.mean(ours) > max(least, np.mean(theirs) - 0.01)
    for scale in (1e-6, 1e6):
        assert abs(accuracy(scale, 0, 1.0) - ours[0]) <= 0.02


def test_tiny_spreads_that_nobody_standardises_are_said(tmp_path: Path) -> None:
    vectors, labels = blobs()
    for scale, num_notes in ((1.0, 0), (1e-6, 1)):
        np.savez(tmp_path / "a.npz", images=vectors * scale, labels=labels)
        dataset, _ = checked(config(arrays(tmp_path, labels_per_class=5, standardise="off")))
        assert sum("eps of BatchNorm" in note for note in dataset.notes) == num_notes


def test_minus_one_is_no_class(tmp_path: Path) -> None:
    vectors, labels = blobs()
    np.savez(tmp_path / "a.npz", images=vectors, labels=np.where(np.arange(240) < 80, labels, UNLABELED))
    chosen = config(arrays(tmp_path, labels_per_class=5))
    dataset, splits = checked(chosen)
    assert dataset.num_classes == 4
    assert splits.counts == {"labeled": 20, "unlabeled": 240 - 20 - 8 - 20, "val": 8, "test": 20}
    assert (dataset.labels[np.concatenate([splits.labeled, splits.val, splits.test])] >= 0).all()
    assert metrics(chosen)["test/accuracy"] > 0.9


def test_an_unlabeled_folder_is_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, Image.fromarray)
    for i in range(30):
        save(shapes()[0][i] // 2, tmp_path / "unlabeled" / f"{i}.png")
    dataset, splits = checked(config(folder(tmp_path)))
    assert dataset.class_names == ("bar", "cross", "square")
    assert splits.counts == {"labeled": 24, "unlabeled": 120 - 24 - 9 - 22, "val": 9, "test": 22}


def test_a_test_on_training_samples_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=rng.normal(size=(80, 5)), labels=rng.integers(0, 4, 80))
    (tmp_path / "b.npz").hardlink_to(tmp_path / "a.npz")
    for file in ("a.npz", "./a.npz", "b.npz"):
        chosen = config({**arrays(tmp_path), "options": {"file": "a.npz", "test_file": file}, "labels_per_class": 3})
        assert "got all 80 of them identical" in stopped(chosen)


def test_a_source_that_is_the_target_is_refused(tmp_path: Path) -> None:
    vectors, labels = blobs()
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", images=vectors, labels=labels)
    for file, rule in (("a.npz", "must differ"), ("./a.npz", "different samples"), ("b.npz", "different samples")):
        target = {"name": "arrays", "options": {"file": file}}
        assert rule in stopped(config(arrays(tmp_path, target=target)))


def in_alpha(image: np.ndarray) -> Image.Image:
    pixels = np.zeros((*image.shape, 4), np.uint8)
    pixels[..., 3] = image
    return Image.fromarray(pixels)


AS_IMAGES: dict[str, tuple[Callable[[np.ndarray], Image.Image], str]] = {
    "8 bits": (Image.fromarray, "png"),
    "in the alpha channel": (in_alpha, "png"),
    "floats to 1": (lambda image: Image.fromarray(image.astype(np.float32) / 255), "tif"),
    "16 bits, of which 8 are used": (lambda image: Image.fromarray(image.astype(np.uint16)), "png"),
}


@pytest.mark.parametrize("kind", AS_IMAGES)
def test_images_of_every_kind_are_seen(kind: str, tmp_path: Path) -> None:
    """From 0.33, of decoded pixels that were all but 0."""
    write_folder(tmp_path, *AS_IMAGES[kind])
    cnn = {"model.name": "small_cnn", "model.options.channels": [8, 16]}
    assert metrics(config(folder(tmp_path), **cnn, **SHORT))["test/accuracy"] > 0.85


def test_a_hidden_file_is_counted_and_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, Image.fromarray)
    (tmp_path / "cross" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    dataset, splits = checked(config(folder(tmp_path)))
    assert sum(splits.counts.values()) == 90
    assert dataset.notes[0].startswith("left out 1 files that are no images by their names")


def test_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    vectors, labels = blobs()
    np.savez(tmp_path / "a.npz", images=vectors, labels=labels)
    sizes = {"training.labeled_batch_size": 1, "training.unlabeled_batch_size": 0}
    assert "take larger batches" in stopped(config(arrays(tmp_path), **sizes))


def test_the_advice_on_divergence_helps(tmp_path: Path) -> None:
    vectors, labels = blobs()
    np.savez(tmp_path / "a.npz", images=vectors, labels=labels)
    with pytest.raises(DivergedError, match=r"raise it|raise algorithm\.temperature=1e-50"):
        metrics(config(arrays(tmp_path, labels_per_class=5), **{"algorithm.temperature": 1e-50}))
    assert metrics(config(arrays(tmp_path, labels_per_class=5)))["test/accuracy"] > 0.9


def test_an_unused_array_of_objects_is_not_read(tmp_path: Path) -> None:
    vectors, labels = blobs()
    np.savez(tmp_path / "a.npz", images=vectors, labels=labels, about=np.array([{"author": 1}, None], dtype=object))
    assert sum(checked(config(arrays(tmp_path, labels_per_class=5)))[1].counts.values()) == 240
