"""Folders of images: layouts, tables of labels, and files that few tools write alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import noise, read, refused, save

from supercm_ray.config import DataConfig
from supercm_ray.data import Dataset, load_dataset
from supercm_ray.errors import StudyError


def folder(root: Path, *names: str) -> None:
    """Writes an image under each name, another for each."""
    for i, name in enumerate(names):
        save(noise(8, 8, seed=i), root / name)


def images(root: Path, **options: object) -> Dataset:
    return read("image_folder", root, **{"image_size": 8, **options})


def refusal(root: Path, **options: object) -> str:
    return refused("image_folder", root, **{"image_size": 8, **options})


def test_unlabeled_is_no_class(tmp_path: Path) -> None:
    folder(tmp_path, "cat/0.png", "dog/0.png", "unlabeled/0.png", "unlabeled/1.png", "_unlabeled/0.png")
    dataset = images(tmp_path)
    assert (dataset.labels.tolist(), dataset.class_names) == ([0, 1, -1, -1, -1], ("cat", "dog"))
    assert dataset.sample_names[2:] == ("_unlabeled/0.png", "unlabeled/0.png", "unlabeled/1.png")
    assert dataset.unlabeled_because == ""


def test_a_flat_folder_is_unlabeled(tmp_path: Path) -> None:
    folder(tmp_path, "b.png", "a.png")
    dataset = images(tmp_path)
    assert (dataset.labels.tolist(), dataset.class_names) == ([-1, -1], ())
    assert dataset.sample_names == ("a.png", "b.png")
    assert "is in a folder of a class" in dataset.unlabeled_because
    with pytest.raises(StudyError, match=r"some samples must have labels for .*, got none: no image"):
        load_dataset(DataConfig(name="image_folder", root=str(tmp_path), options={"image_size": 8}, labels_per_class=1))


def test_a_single_class_and_an_empty_one_are_read(tmp_path: Path) -> None:
    folder(tmp_path, "cat/0.png")
    assert images(tmp_path).class_names == ("cat",)
    (tmp_path / "owl").mkdir()
    assert images(tmp_path).class_names == ("cat", "owl")


def test_train_val_and_test_are_parts(tmp_path: Path) -> None:
    names = ["train/cat/0.png", "train/dog/0.png", "train/dog/1.png", "train/unlabeled/0.png", "valid/cat/0.png"]
    folder(tmp_path, *names, "test/dog/0.png", "test/9.png", "unlabeled/0.png")
    dataset = images(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.sample_names == (*names, "test/dog/0.png", "unlabeled/0.png")
    assert dataset.labels.tolist() == [0, 1, 1, -1, 0, 1, -1]
    assert (dataset.val_indices.tolist(), dataset.test_indices.tolist()) == ([4], [5])
    assert dataset.notes[0].startswith("left out 1 images beside the folders of classes")
    folder(tmp_path, "docs/0.png")
    assert "`test`, `train`, `valid` beside `docs`; move one of them away" in refusal(tmp_path)


def test_parts_without_classes_are_unlabeled_and_no_classes(tmp_path: Path) -> None:
    folder(tmp_path, "train/0.png", "test/0.png")
    dataset = images(tmp_path)
    assert (dataset.sample_names, dataset.labels.tolist(), dataset.class_names) == (("train/0.png",), [-1], ())
    assert dataset.notes[0].startswith("left out 1 images of val or test that are in no folder of a class")
    (tmp_path / "train").rename(tmp_path / "val")
    assert "got `test`, `val` alone" in refusal(tmp_path)


def test_train_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    folder(tmp_path, "bus/0.png", "train/0.png", "car/0.png")
    assert images(tmp_path).class_names == ("bus", "car", "train")


def test_what_is_no_image_is_counted(tmp_path: Path) -> None:
    folder(tmp_path, "cat/0.png", "dog/0.png", "9.png")
    save(noise(8, 8), tmp_path / "dog" / "bare.png")
    (tmp_path / "dog" / "bare.png").rename(tmp_path / "dog" / "bare")
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "dog/notes.txt", "dog/README", "__MACOSX/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\1Bud1")
    dataset = images(tmp_path)
    assert dataset.sample_names == ("cat/0.png", "dog/0.png", "dog/bare")
    assert dataset.notes == (
        f"left out 4 files that are no images by their names, the first is {tmp_path / 'cat' / '.DS_Store'}",
        f"left out 1 images beside the folders of classes, the first is {tmp_path / '9.png'}",
    )
    (tmp_path / "dog" / "1.png").write_bytes(b"\0\0\0\1Bud1")
    assert "1.png: cannot identify" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "got none in" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("written", ["img/{}.png", "{}.png", "{}"])
def test_a_table_names_files_and_labels(written: str, tmp_path: Path) -> None:
    folder(tmp_path, *(f"img/{name}.png" for name in "abcd"))
    rows = [("c", "dog"), ("a", "cat"), ("b", "")]
    lines = [f"{written.format(name)},{label},9" for name, label in rows]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,age", *lines]))
    dataset = images(tmp_path, labels_file="labels.csv")
    assert dataset.sample_names == ("img/c.png", "img/a.png", "img/b.png", "img/d.png")
    assert (dataset.labels.tolist(), dataset.class_names) == ([1, 0, -1, -1], ("cat", "dog"))
    assert images(tmp_path, labels_file="labels.csv", label_key="age").class_names[-1] == "9"
    assert "the column `kind`" in refusal(tmp_path, labels_file="labels.csv", label_key="kind")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a.png,cat", "e.png,dog"], "got 'e.png', which no image has, and 1 such names"),
        (["a.png,cat", "a.png,dog"], "got several for 'a.png'"),
        (["twice.png,cat"], "'twice.png', which 2 images have"),
        (["a.png"], "labels.csv"),
        ([], "labels.csv"),
    ],
)
def test_tables_that_do_not_fit_are_refused(lines: list[str], expected: str, tmp_path: Path) -> None:
    folder(tmp_path, "a.png", "one/twice.png", "two/twice.png")
    header = "file,label" if lines != ["a.png"] else "file"
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]) if lines else "")
    assert expected in refusal(tmp_path, labels_file="labels.csv")


def disc(mode: str) -> Image.Image:
    """A bright square on dark noise, in a mode."""
    image = noise(8, 8) // 7
    image[2:6, 2:6] = 220
    if mode == "F":
        return Image.fromarray(image.astype(np.float32) / 255)
    if mode in ("I", "I;16"):
        return Image.fromarray(image.astype(np.int32 if mode == "I" else np.uint16))
    return Image.fromarray(image).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "YCbCr", "F", "I", "I;16", "1"])
@pytest.mark.parametrize("stream", ["on", "off"])
def test_every_mode_is_visible(mode: str, stream: str, tmp_path: Path) -> None:
    save(disc(mode), tmp_path / "a.tif" if mode != "I;16" else tmp_path / "a.png")
    pixels = images(tmp_path, stream=stream).images[np.array([0])]
    assert pixels[0, 0, 3, 3] >= 210
    assert pixels[0, 0, 0].max() <= 60


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_shapes_in_alpha_are_visible(colour: int, mode: str, tmp_path: Path) -> None:
    for i in range(3):
        layers = [Image.new("L", (8, 8), colour)] * (3 if mode == "RGBA" else 1)
        save(Image.merge(mode, [*layers, disc("L")]), tmp_path / f"{i}.png")
    streamed, stacked = images(tmp_path, stream="on"), images(tmp_path, stream="off")
    assert stacked.shape[0] == (3 if mode == "RGBA" else 1)
    assert np.array_equal(streamed.images[np.arange(3)], stacked.images)
    assert stacked.decoding["background"] == ("black" if colour else "white")
    contrast = stacked.images[0, 0, 3, 3].astype(int) - stacked.images[0, 0, 0].astype(int)
    assert (np.abs(contrast) > 150).all()
    assert np.array_equal(images(tmp_path, background="white").images, stacked.images) == (not colour)


def test_one_range_holds_for_all_images(tmp_path: Path) -> None:
    for i, factor in enumerate((1, 2, 4)):
        save((noise(8, 8).astype(np.uint16) * factor), tmp_path / f"{i}.png")
    streamed, stacked = images(tmp_path, stream="on"), images(tmp_path, stream="off")
    assert np.array_equal(streamed.images[np.arange(3)], stacked.images)
    assert stacked.decoding == {"max_pixel": 1023.0, "pixels": "<u2"}
    assert np.abs(stacked.images[2, 0] / 4 - stacked.images[0, 0]).max() <= 1
    assert "from 0 to 1023 become black to white" in stacked.notes[-1]
    save(noise(8, 8) // 20, tmp_path / "0.png")
    assert images(tmp_path).images[0].max() <= 12, "8 bits keep their range beside 16"
    save(disc("F"), tmp_path / "3.tif")
    assert "all have whole numbers or all have floats" in refusal(tmp_path)


def test_broken_pixels_are_refused_or_left_out(tmp_path: Path) -> None:
    folder(tmp_path, "0.png")
    for name, value in (("1.tif", np.nan), ("2.tif", -1.0)):
        save(np.full((8, 8), value, np.float32), tmp_path / name)
    assert "1.tif: its pixels must be numbers from 0 on" in refusal(tmp_path)
    assert images(tmp_path, skip_corrupt=True).sample_names == ("0.png",)


def test_images_without_contrast_are_counted(tmp_path: Path) -> None:
    folder(tmp_path, "0.png", "2.png")
    save(np.full((8, 8, 3), (9, 99, 200), np.uint8), tmp_path / "1.png")
    for stream in ("on", "off"):
        assert images(tmp_path, stream=stream).notes == (
            f"1 images have next to no contrast, the first is {tmp_path / '1.png'}",
        )


def test_images_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    image = Image.fromarray(np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "0.png", exif=exif)
    turned = images(tmp_path).images[0, 0]
    assert np.array_equal(turned, np.rot90(np.asarray(image), -1))
