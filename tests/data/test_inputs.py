"""Inputs to predict for, read the way that a data set takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sources import noise, save

from supercm_ray.config import PlaceConfig
from supercm_ray.data import inputs, read_inputs
from supercm_ray.data.images import StreamedImages
from supercm_ray.errors import StudyError

FOLDER = PlaceConfig(name="image_folder", options={"image_size": 8})
TABLE = PlaceConfig(name="arrays", options={"file": "train.csv", "label_key": "kind"})


def test_files_and_folders_of_images_are_read(tmp_path: Path) -> None:
    for i, name in enumerate(("a.png", "more/b.png", "more/deep/c.png", "more/.d.png")):
        save(noise(8, 8, seed=i), tmp_path / name)
    found = read_inputs(FOLDER, [tmp_path / "more", tmp_path / "a.png"])
    assert found.sample_names == ("b.png", "deep/c.png", "a.png")
    assert np.array_equal(found.images[:, 0], [noise(8, 8, seed=i) for i in (1, 2, 0)])
    assert (found.labels.tolist(), found.class_names) == ([-1] * 3, ())
    assert found.notes[0].startswith("left out 1 files that are no images")


def test_images_take_shape_and_range_of_the_data(tmp_path: Path) -> None:
    save(noise(10, 12, 3).astype(np.uint8), tmp_path / "a.png")
    assert read_inputs(FOLDER, [tmp_path / "a.png"], shape=(1, 8, 8)).shape == (1, 8, 8)
    digits = PlaceConfig(name="digits")
    assert read_inputs(digits, [tmp_path / "a.png"], shape=(1, 8, 8)).shape == (1, 8, 8)
    save(noise(8, 8).astype(np.uint16), tmp_path / "b.png")
    (dark,) = read_inputs(FOLDER, [tmp_path / "b.png"], decoding={"max_pixel": 1023.0}).images
    assert dark.max() <= 64


def test_large_folders_are_decoded_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        save(noise(10, 12, 3, seed=i).astype(np.uint8), tmp_path / f"{i}.png")
    wanted = read_inputs(FOLDER, [tmp_path])
    monkeypatch.setattr(inputs, "IN_MEMORY", 3 * 3 * 8 * 8 - 1)
    found = read_inputs(FOLDER, [tmp_path])
    assert isinstance(found.images, StreamedImages)
    assert np.array_equal(found.images[:], wanted.images)
    assert found.sample_names == wanted.sample_names
    np.savez(tmp_path / "x.npz", images=wanted.images)
    assert read_inputs(FOLDER, [tmp_path, tmp_path / "x.npz"]).shape == wanted.shape


def test_labels_of_tables_are_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("a,b,kind\n1,2,7\n3,4,\n")
    found = read_inputs(TABLE, [tmp_path / "new.csv"])
    assert found.images[:, :, 0, 0].tolist() == [[1, 2], [3, 4]]
    assert found.sample_names == ("new.csv[0]", "new.csv[1]")
    (tmp_path / "bare.csv").write_text("a,b\n5,6\n")
    assert len(read_inputs(TABLE, [tmp_path / "new.csv", tmp_path / "bare.csv"]).labels) == 3
    np.savez(tmp_path / "x.npz", x=noise(5, 2))
    assert len(read_inputs(TABLE, [tmp_path / "x.npz"], shape=(2, 1, 1)).labels) == 5


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("a,b\n1,2\n")
    (tmp_path / "more.csv").write_text("a,b,c\n1,2,3\n")
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    cases = {
        "new.csv": "trained on, (3, 1, 1), got (2, 1, 1) for `new.csv[0]`",
        "notes.txt": "which is none of these",
        "missing.png": "which is nothing there",
        "empty": "must hold images, got none",
    }
    for name, expected in cases.items():
        with pytest.raises(StudyError) as caught:
            read_inputs(TABLE, [tmp_path / name], shape=(3, 1, 1))
        assert expected in str(caught.value), name
    with pytest.raises(StudyError, match="one shape and type"):
        read_inputs(TABLE, [tmp_path / "new.csv", tmp_path / "more.csv"])
    with pytest.raises(StudyError, match="at least one file"):
        read_inputs(TABLE, [])


def test_columns_of_tables_are_known_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("x,b,kind,a\n9,2,7,1\n9,4,,3\n")
    found = read_inputs(TABLE, [tmp_path / "new.csv"], columns=("a", "b"))
    assert found.images[:, :, 0, 0].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(
        StudyError, match=r"the column `c` must stand in new\.csv, got `a`, `b`, `kind`, `x`; rename one"
    ):
        read_inputs(TABLE, [tmp_path / "new.csv"], columns=("a", "c"))
    np.savez(tmp_path / "x.npz", x=noise(5, 2))
    assert len(read_inputs(TABLE, [tmp_path / "x.npz"], columns=("a", "b")).labels) == 5


def test_inputs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(noise(8, 8), tmp_path / folder / "1.png")
        (tmp_path / folder / "t.csv").write_text("x,y\n1,2\n")
    paths = [tmp_path / "a", tmp_path / "b"]
    assert read_inputs(FOLDER, paths).sample_names == tuple(str(path / "1.png") for path in paths)
    tables = [path / "t.csv" for path in paths]
    assert read_inputs(TABLE, tables).sample_names == tuple(f"{path}[0]" for path in tables)
