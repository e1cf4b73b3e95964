"""Data sets from files: torchvision's, arrays and folders of images, real ones where SUPERCM_DATA names them."""

from __future__ import annotations

import bz2
import io
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csr_matrix

from supercm_ray.config import DataConfig, PlaceConfig
from supercm_ray.data import DATASETS, Dataset, load_dataset, split_dataset
from supercm_ray.errors import StudyError

REAL = Path(os.environ.get("SUPERCM_DATA", ""))
needs_real_data = pytest.mark.skipif(
    "SUPERCM_DATA" not in os.environ, reason="SUPERCM_DATA does not name the data sets"
)


def arrays(root: Path, **settings: object) -> DataConfig:
    return DataConfig(name="arrays", root=str(root), label_ratio=0.3, options=settings)


def refusal(data: DataConfig) -> str:
    with pytest.raises(StudyError) as caught:
        load_dataset(data)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def labels() -> np.ndarray:
    return np.tile(np.arange(3), 10)


@pytest.mark.parametrize("shape", [(30, 5, 6), (30, 5, 6, 3), (30, 3, 5, 6)])
def test_arrays_of_images_in_each_layout(shape: tuple[int, ...], labels: np.ndarray, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    dataset = load_dataset(arrays(tmp_path, file="a.npz"))
    assert dataset.images.shape == (30, 1 if len(shape) == 3 else 3, 5, 6)
    index = {3: (4, 2, 3), 4: (4, 2, 3, 1)}[len(shape)] if shape[-1] != 6 or len(shape) == 3 else (4, 1, 2, 3)
    expected = images[index]
    assert dataset.images[4, 0 if len(shape) == 3 else 1, 2, 3] == expected
    assert np.array_equal(dataset.labels, labels)
    assert dataset.test_indices is None


@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_arrays_of_vectors_one_based_and_normalised(suffix: str, labels: np.ndarray, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 7))
    content = {"fts": vectors, "y": labels + 1}
    save = (lambda path, found: np.savez(path, **found)) if suffix == "npz" else savemat
    save(tmp_path / f"a.{suffix}", content)
    settings = {"input_key": "fts", "label_key": "y", "first_label": 1, "l2_normalise": True}
    dataset = load_dataset(arrays(tmp_path, file=f"a.{suffix}", **settings))
    assert dataset.images.shape == (30, 7, 1, 1)
    assert dataset.images.dtype == np.float32
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(dataset.images[:, :, 0, 0], expected, atol=1e-6)
    assert np.array_equal(dataset.labels, labels)


def test_test_samples_of_their_own_file_stay_the_test_split(labels: np.ndarray, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, shift in (("train", 0), ("test", 100)):
        images = rng.integers(shift, shift + 50, (30, 4, 4)).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    data = arrays(tmp_path, file="train.npz", test_file="test.npz")
    dataset = load_dataset(data)
    assert np.array_equal(dataset.test_indices, np.arange(30, 60))
    assert dataset.mean[0] == pytest.approx(dataset.images[:30].mean() / 255)
    assert dataset.std[0] == pytest.approx((dataset.images[:30] / 255).std())
    from supercm_ray.config import Config

    splits = split_dataset(dataset, Config(data=data.model_copy(update={"num_val": 6})))
    assert np.array_equal(splits.test, np.arange(30, 60))
    assert len(splits.val) == 6
    assert sorted(np.concatenate([splits.labeled, splits.unlabeled, splits.val])) == list(range(30))


def encoded(images: np.ndarray, broken: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        parts.append(b"no image" if i == broken else buffer.getvalue())
    return np.frombuffer(b"".join(parts), dtype=np.uint8), np.cumsum([0, *map(len, parts)])


def test_encoded_images_are_decoded(labels: np.ndarray, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    data, places = encoded(images)
    np.savez(tmp_path / "a.npz", png=data, at=places, labels=labels)
    dataset = load_dataset(arrays(tmp_path, file="a.npz", input_key="png", offsets_key="at"))
    assert np.array_equal(dataset.images, images.transpose(0, 3, 1, 2))


def test_a_corrupt_image_is_refused_or_counted_and_left_out(
    labels: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    data, places = encoded(images, broken=7)
    np.savez(tmp_path / "a.npz", png=data, at=places, labels=labels)
    config = arrays(tmp_path, file="a.npz", input_key="png", offsets_key="at")
    assert "sample 7 of a.npz" in refusal(config)
    assert "data.options.skip_corrupt=true" in refusal(config)
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(
            config.model_copy(update={"options": config.options.model_copy(update={"skip_corrupt": True})})
        )
    assert "left out 1 images" in caplog.text
    assert np.array_equal(dataset.labels, np.delete(labels, 7))
    assert np.array_equal(dataset.images[7], images[8].transpose(2, 0, 1))


def test_what_is_wrong_with_arrays_is_said(labels: np.ndarray, tmp_path: Path) -> None:
    vectors = np.ones((30, 4), dtype=np.float32)
    poisoned = vectors.copy()
    poisoned[11, 2] = np.nan
    files = {
        "nan.npz": {"images": poisoned, "labels": labels},
        "short.npz": {"images": vectors[:20], "labels": labels},
        "nolabels.npz": {"images": vectors},
        "gap.npz": {"images": vectors, "labels": labels * 2},
        "negative.npz": {"images": vectors, "labels": labels - 2},
        "halves.npz": {"images": vectors, "labels": labels / 2},
        "floats.npz": {"images": -np.ones((30, 4, 4)), "labels": labels},
        "object.npz": {"images": np.array([{}] * 30, dtype=object), "labels": labels},
    }
    for name, content in files.items():
        np.savez(tmp_path / name, **content)
    (tmp_path / "text.npz").write_text("no archive")
    messages = {name: refusal(arrays(tmp_path, file=name)) for name in [*files, "text.npz", "missing.npz"]}
    assert "got nan in feature 2 of sample 11, and such values in 1 samples" in messages["nan.npz"]
    assert "got 30 and 20" in messages["short.npz"]
    assert "got none: nolabels.npz has no array `labels`, only `images`" in messages["nolabels.npz"]
    assert "none of class 1 (2 of 5 classes have none); number the classes without a gap" in messages["gap.npz"]
    assert "the label -2" in messages["negative.npz"]
    assert "whole numbers" in messages["halves.npz"]
    assert "got -1.0 in sample 0; save the images before they are standardised" in messages["floats.npz"]
    for name in ("object.npz", "text.npz", "missing.npz"):
        assert name in messages[name]


def test_inputs_and_labels_of_other_kinds_are_refused_in_one_line(labels: np.ndarray, tmp_path: Path) -> None:
    vectors, large = np.ones((30, 4), dtype=np.float32), labels.astype(np.int64)
    large[7] = 10**12
    cases = {
        "text": ({"images": np.array([["a", "b"]] * 30), "labels": labels}, "vectors (N, D) or images"),
        "scalar": ({"images": np.float32(3), "labels": labels}, "got float32 ()"),
        "complex": ({"images": vectors * 1j, "labels": labels}, "got complex64 (30, 4)"),
        "no_width": ({"images": vectors[:, :0], "labels": labels}, "got float32 (30, 0)"),
        "no_height": ({"images": np.ones((30, 0, 4), np.uint8), "labels": labels}, "got uint8 (30, 0, 4)"),
        "no_rows": ({"images": vectors[:0], "labels": labels[:0]}, "got float32 (0, 4)"),
        "large": ({"images": vectors, "labels": large}, "got the label 1000000000000"),
        "uint32": (
            {"images": vectors, "labels": (labels - 1).astype(np.uint32)},
            "got 4294967295 10 times beside labels of at most 1, which is -1 stored in an unsigned type",
        ),
        "uint64": ({"images": vectors, "labels": (labels - 1).astype(np.uint64)}, "got 18446744073709551616 10 times"),
        "too_large": ({"images": vectors * np.float64(1e300), "labels": labels}, "in 30 samples"),
        "infinite": ({"images": vectors, "labels": np.where(labels == 1, np.inf, labels)}, "got inf"),
        "quantity": ({"images": vectors, "labels": labels * 0.3}, "give classes, not quantities"),
        "dates": ({"images": vectors, "labels": labels.astype("M8[D]")}, "got datetime64[D]"),
    }
    for name, (content, expected) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **content)
        assert expected in refusal(arrays(tmp_path, file=f"{name}.npz")), name
    savemat(tmp_path / "sparse.mat", {"images": csr_matrix(vectors), "labels": labels})
    assert "got a sparse matrix for images in sparse.mat" in refusal(arrays(tmp_path, file="sparse.mat"))
    savemat(tmp_path / "sparse_labels.mat", {"images": vectors, "labels": csr_matrix(labels)})
    assert "a sparse matrix for labels" in refusal(arrays(tmp_path, file="sparse_labels.mat"))


def test_labels_are_named_as_they_stand_in_the_file(labels: np.ndarray, tmp_path: Path) -> None:
    vectors = np.ones((30, 4), dtype=np.float32)
    np.savez(tmp_path / "gap.npz", images=vectors, labels=labels * 2 + 1)
    assert "none of class 2 (2 of 5 classes have none)" in refusal(arrays(tmp_path, file="gap.npz", first_label=1))
    np.savez(tmp_path / "zero.npz", images=vectors, labels=labels)
    assert "got 1" + 30 * "0" in refusal(arrays(tmp_path, file="zero.npz", first_label=10**30))
    message = refusal(arrays(tmp_path, file="zero.npz", first_label=1))
    assert "data.options.first_label=1 on" in message
    assert "the label 0" in message


@pytest.mark.parametrize(("shape", "readings"), [((4, 5, 6), "none is"), ((5, 6, 4), "none is"), ((3, 5, 3), "both")])
def test_images_whose_channels_cannot_be_told_are_refused(
    shape: tuple[int, ...], readings: str, labels: np.ndarray, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((30, *shape), dtype=np.uint8), labels=labels)
    message = refusal(arrays(tmp_path, file="a.npz"))
    assert str((30, *shape)) in message
    assert readings in message


def test_places_of_encoded_images_that_make_no_sense_are_refused(labels: np.ndarray, tmp_path: Path) -> None:
    data, places = encoded(np.zeros((30, 4, 5), dtype=np.uint8))
    cases = {
        "text": (data, places.astype(str), "got 31 of <U21"),
        "halves": (data, places + 0.5, "must be two or more whole numbers"),
        "short": (data, places[:-1], "got 30 and 29 for labels and png"),
        "beyond": (data[:-9], places, f"at most the {len(data) - 9} bytes"),
        "falling": (data, places[::-1], "must rise"),
        "wide": (data.astype(np.int64), places, "got int64"),
    }
    for name, (content, at, expected) in cases.items():
        np.savez(tmp_path / f"{name}.npz", png=content, at=at, labels=labels)
        config = arrays(tmp_path, file=f"{name}.npz", input_key="png", offsets_key="at")
        assert expected in refusal(config), name
    np.savez(tmp_path / "floats.npz", png=data, at=places.astype(np.float64), labels=labels)
    assert load_dataset(arrays(tmp_path, file="floats.npz", input_key="png", offsets_key="at"))


def damage(images: bytes, labels: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Both files of a part of MNIST's kind, whole and damaged in several ways."""
    return {
        "whole": (images, labels),
        "empty": (b"", b""),
        "garbage": (b"garbage" * 9, labels),
        "cut header": (images[:6], labels),
        "cut": (images[:-5], labels),
        "fewer labels": (images, labels[:-5]),
        "labels beyond": (images, labels[:-1] + b"\xff"),
    }


def test_damaged_files_of_mnist_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    header = [np.array(numbers, dtype=">i4").tobytes() for numbers in ((2051, 20, 28, 28), (2049, 20))]
    whole = header[0] + bytes(20 * 28 * 28), header[1] + bytes(k % 10 for k in range(20))
    data = DataConfig(name="mnist", label_ratio=0.1, root=str(tmp_path))
    for name, (images, labels) in damage(*whole).items():
        for part, content in (("train", (images, labels)), ("t10k", whole)):
            (raw / f"{part}-images-idx3-ubyte").write_bytes(content[0])
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(content[1])
        if name == "whole":
            assert load_dataset(data).class_names == tuple("0123456789")
        else:
            assert str(tmp_path) in refusal(data), name


def test_damaged_files_of_usps_are_named(tmp_path: Path) -> None:
    line = "{} " + " ".join(f"{i + 1}:-1" for i in range(256)) + "\n"
    whole = bz2.compress("".join(line.format(k % 10 + 1) for k in range(20)).encode())
    cases = {
        "empty": b"",
        "garbage": b"garbage",
        "cut": whole[:-20],
        "words": bz2.compress(b"no numbers\n"),
        "no samples": bz2.compress(b""),
        "one class": bz2.compress(line.format(1).encode()),
        "label beyond": bz2.compress((line.format(1) + line.format(2) + line.format(99)).encode()),
    }
    (tmp_path / "USPS").mkdir()
    (tmp_path / "USPS" / "usps.t.bz2").write_bytes(whole)
    data = DataConfig(name="usps", label_ratio=0.1, root=str(tmp_path))
    for name, content in cases.items():
        (tmp_path / "USPS" / "usps.bz2").write_bytes(content)
        assert str(tmp_path) in refusal(data), name
    (tmp_path / "USPS" / "usps.bz2").write_bytes(whole)
    assert len(load_dataset(data).labels) == 40


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets torchvision take small files in place of the published ones."""
    import torchvision.datasets

    for module in (torchvision.datasets.stl10, torchvision.datasets.svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


@pytest.mark.parametrize(
    ("split", "counts"), [("train", (20, 0, 10)), ("train+unlabeled", (20, 5, 10)), ("unlabeled", (0, 5, 0))]
)
def test_stl10_may_have_its_unlabeled_samples(
    split: str, counts: tuple[int, ...], any_checksum: None, tmp_path: Path
) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for name, num in (("train", 20), ("test", 10), ("unlabeled", 5)):
        (folder / f"{name}_X.bin").write_bytes(bytes(range(num)) * 3 * 96 * 96)
        (folder / f"{name}_y.bin").write_bytes(bytes(k % 10 + 1 for k in range(num)))
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    place = PlaceConfig(name="stl10", root=str(tmp_path), options={"split": split})
    dataset = DATASETS.find("stl10").make(place, place.options)
    num_train, num_unlabeled, num_test = counts
    assert dataset.images.shape == (sum(counts), 3, 96, 96)
    assert dataset.labels[:num_train].tolist() == [k % 10 for k in range(num_train)]
    assert (dataset.labels == -1).sum() == num_unlabeled
    assert dataset.class_names == tuple("abcdefghij")
    assert (dataset.test_indices is None) == (not num_test)
    assert bool(dataset.unlabeled_because) == (not num_train)


def test_svhn_has_further_samples(any_checksum: None, tmp_path: Path) -> None:
    (tmp_path / "SVHN").mkdir()
    for name, num in (("train", 20), ("test", 10), ("extra", 30)):
        images = np.random.default_rng(num).integers(0, 256, (32, 32, 3, num)).astype(np.uint8)
        savemat(tmp_path / "SVHN" / f"{name}_32x32.mat", {"X": images, "y": np.arange(num)[:, None] % 10 + 1})
    data = DataConfig(name="svhn", root=str(tmp_path), label_ratio=0.1)
    check(load_dataset(data), 20, 10, (3, 32, 32))
    extra = load_dataset(data.model_copy(update={"options": data.options.model_copy(update={"split": "extra"})}))
    assert extra.images.shape == (30, 3, 32, 32)
    assert extra.test_indices is None
    assert extra.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_a_folder_of_images_is_scaled_and_cropped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i, size in enumerate([(20, 30), (30, 20), (16, 16)]):
            pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    data = DataConfig(name="image_folder", root=str(tmp_path), options={"image_size": 8}, labels_per_class=1)
    dataset = load_dataset(data)
    assert dataset.images.shape == (6, 3, 8, 8)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "dog" / "broken.png").write_bytes(b"no image")
    assert "broken.png" in refusal(data)
    assert "data.options.image_size" in refusal(DataConfig(name="image_folder", root=str(tmp_path), labels_per_class=1))


def test_folders_that_are_numbers_are_ordered_by_number(tmp_path: Path) -> None:
    for k in range(12):
        (tmp_path / str(k)).mkdir()
        Image.fromarray(np.full((8, 8), 20 * k, dtype=np.uint8)).save(tmp_path / str(k) / "0.png")
    data = DataConfig(name="image_folder", root=str(tmp_path), options={"image_size": 8}, labels_per_class=1)
    dataset = load_dataset(data)
    assert dataset.class_names == tuple(map(str, range(12)))
    assert np.array_equal(dataset.images[:, 0, 0, 0], 20 * dataset.labels)
    (tmp_path / "11").rename(tmp_path / "owl")
    assert load_dataset(data).class_names[:4] == ("0", "1", "10", "2")


def test_broken_links_and_files_further_down_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat", "dog/more/still", "dog/.hidden"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / name / "0.png")
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "dog" / "0.png")
    data = DataConfig(name="image_folder", root=str(tmp_path), options={"image_size": 8}, labels_per_class=1)
    assert len(load_dataset(data).labels) == 2
    assert "left out 1 files in folders within those of classes" in caplog.text
    assert str(tmp_path / "dog" / "more" / "still" / "0.png") in caplog.text
    assert "links that" not in caplog.text
    (tmp_path / "cat" / "1.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "owl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cat" / "2.png").symlink_to(tmp_path / "dog" / "0.png")
    assert len(load_dataset(data).labels) == 3
    assert "left out 2 links that lead nowhere" in caplog.text


def test_grey_and_colour_images_may_be_mixed_and_hidden_folders_are_no_class(tmp_path: Path) -> None:
    for name in ("cat", "dog", ".checkpoints"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((8, 8), 70, dtype=np.uint8)).save(tmp_path / "cat" / "grey.png")
    Image.fromarray(np.full((8, 8), 25700, dtype=np.uint16)).save(tmp_path / "cat" / "deep.png")
    Image.fromarray(np.full((8, 8, 3), 9, dtype=np.uint8)).save(tmp_path / "dog" / "colour.png")
    data = DataConfig(name="image_folder", root=str(tmp_path), options={"image_size": 8}, labels_per_class=1)
    dataset = load_dataset(data)
    assert dataset.class_names == ("cat", "dog")
    assert sorted(dataset.images[:, :, 0, 0].tolist()) == [[9, 9, 9], [70, 70, 70], [100, 100, 100]]
    (tmp_path / "owl").mkdir()
    assert "owl" in refusal(data)


def test_encoded_images_in_a_mat_file_and_damaged_archives(labels: np.ndarray, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    data, places = encoded(images)
    savemat(tmp_path / "a.mat", {"png": data, "at": places, "labels": labels})
    dataset = load_dataset(arrays(tmp_path, file="a.mat", input_key="png", offsets_key="at"))
    assert np.array_equal(dataset.images, images.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "whole.npz", images=images, labels=labels)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:900])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "empty.mat").write_bytes(b"")
    for name in ("cut.npz", "empty.npz", "empty.mat"):
        assert name in refusal(arrays(tmp_path, file=name))
    np.savez(tmp_path / "one.npz", images=images, labels=labels * 0)
    assert "at least two classes" in refusal(arrays(tmp_path, file="one.npz"))


def test_a_missing_folder_or_file_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERCM_DATA", raising=False)
    assert "SUPERCM_DATA" in refusal(DataConfig(name="mnist", label_ratio=0.1))
    assert "make it" in refusal(DataConfig(name="mnist", label_ratio=0.1, root=str(tmp_path / "no")))
    for name in ("mnist", "fashion_mnist", "usps", "svhn", "cifar10", "cifar100", "stl10"):
        message = refusal(DataConfig(name=name, label_ratio=0.1, root=str(tmp_path)))
        assert str(tmp_path) in message
        assert "data.options.download=true" in message
    monkeypatch.setenv("SUPERCM_DATA", str(tmp_path))
    assert str(tmp_path) in refusal(DataConfig(name="usps", label_ratio=0.1))


def check(dataset: Dataset, num_train: int, num_test: int, shape: tuple[int, int, int], num_classes: int = 10) -> None:
    assert dataset.images.shape == (num_train + num_test, *shape)
    assert np.array_equal(dataset.test_indices, np.arange(num_train, num_train + num_test))
    assert dataset.num_classes == num_classes
    assert set(dataset.labels.tolist()) == set(range(num_classes))


@needs_real_data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_and_fashion_mnist_are_unpacked_and_read(name: str, tmp_path: Path) -> None:
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    shutil.copytree(REAL / folder, tmp_path / folder, copy_function=shutil.copy)
    for path in (tmp_path / folder).rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / folder).chmod(0o755)
    data = DataConfig(name=name, root=str(tmp_path), labels_per_class=1, options={"download": True})
    check(load_dataset(data), 60_000, 10_000, (1, 28, 28))
    check(load_dataset(DataConfig(name=name, root=str(tmp_path), labels_per_class=1)), 60_000, 10_000, (1, 28, 28))


@needs_real_data
def test_usps_is_read() -> None:
    usps = load_dataset(DataConfig(name="usps", root=str(REAL), labels_per_class=1))
    check(usps, 7_291, 2_007, (1, 16, 16))
    assert usps.class_names == tuple("0123456789")


@pytest.mark.slow
@needs_real_data
def test_jpegs_in_an_npz_are_read_without_a_special_case() -> None:
    data = DataConfig(
        name="arrays",
        root=str(REAL / "CIFAR10"),
        labels_per_class=4,
        options={
            "file": "cifar10_jpegq75_train.npz",
            "test_file": "cifar10_jpegq75_test.npz",
            "input_key": "jpeg",
            "offsets_key": "offsets",
        },
    )
    check(load_dataset(data), 50_000, 10_000, (3, 32, 32))


@needs_real_data
def test_deep_features_in_a_mat_file_are_as_their_readme_says() -> None:
    """1-nearest-neighbour from amazon to webcam finds 84.1 % on normalised samples."""
    found = {}
    for domain in ("amazon", "webcam"):
        settings = {"input_key": "fts", "label_key": "labels", "first_label": 1, "l2_normalise": True}
        file = f"OfficeCaltech10/features/GoogleNet1024_{domain}.mat"
        found[domain] = load_dataset(arrays(REAL, file=file, **settings))
    source, target = found["amazon"], found["webcam"]
    nearest = (target.images[:, :, 0, 0] @ source.images[:, :, 0, 0].T).argmax(axis=1)
    assert (source.labels[nearest] == target.labels).mean() == pytest.approx(0.841, abs=5e-4)
