"""Files of arrays and tables: every format, every kind of label, and what is refused."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat
from sources import noise, read, refused, save

from supercm_ray.config import DataConfig
from supercm_ray.data import load_dataset
from supercm_ray.errors import StudyError

Content = dict[str, np.ndarray]


def write_mat73(path: Path, content: Content) -> None:
    """A file as MATLAB 7.3 writes it: HDF5 after a header of 512 bytes, axes in reverse order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in content.items():
            file.create_dataset(name, data=array.T)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_hdf5(path: Path, content: Content) -> None:
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            file.create_dataset(name, data=array)


def tensors(content: Content) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in content.items()}


WRITERS: dict[str, Callable[[Path, Content], object]] = {
    "a.npz": lambda path, content: np.savez(path, **content),
    "a.mat": savemat,
    "v73.mat": write_mat73,
    "a.h5": write_hdf5,
    "a.hdf5": write_hdf5,
    "a.pt": lambda path, content: torch.save(tensors(content), path),
    "a.safetensors": lambda path, content: save_file(tensors(content), path),
}
LABELS = np.tile([0, 1, 2, -1], 5)


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("inputs", [noise(20, 6).astype(np.float32), noise(20, 4, 5), noise(20, 4, 5, 3)])
def test_every_format_gives_the_same_samples(file: str, inputs: np.ndarray, tmp_path: Path) -> None:
    WRITERS[file](tmp_path / file, {"images": inputs, "labels": LABELS})
    dataset = read("arrays", tmp_path, file=file)
    expected = inputs.transpose(0, 3, 1, 2) if inputs.ndim == 4 else inputs
    assert np.array_equal(dataset.images.reshape(expected.shape), expected)
    assert np.array_equal(dataset.labels, LABELS)
    assert (dataset.class_names, dataset.has_class_names) == (("0", "1", "2"), False)
    assert dataset.notes == ()


@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "a.parquet"])
def test_tables_take_numbers_and_name_classes(file: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1.5, 2, 3], "kind": ["dog", None, "cat"], "b": [4, 5, 6], "remark": list("xyz")})
    if file == "a.parquet":
        table.to_parquet(tmp_path / file)
    else:
        table.to_csv(tmp_path / file, sep="\t" if file == "a.tsv" else ",")
    dataset = read("arrays", tmp_path, file=file, label_key="kind")
    assert dataset.images[:, :, 0, 0].tolist() == [[1.5, 4], [2, 5], [3, 6]]
    assert dataset.labels.tolist() == [1, -1, 0]
    assert (dataset.class_names, dataset.has_class_names) == (("cat", "dog"), True)
    assert dataset.notes == (f"left out 1 columns of {file} that hold no numbers, the first is `remark`",)
    assert read("arrays", tmp_path, file=file, label_key="kind", input_key="b").shape == (1, 1, 1)
    assert read("arrays", tmp_path, file=file, label_key="kind", input_key=["b", "[a]"]).images[0, 0, 0, 0] == 4
    assert "got 'x' in row 0 of `remark`" in refused("arrays", tmp_path, file=file, input_key=["a", "remark"])
    assert "the column `c` must stand in" in refused("arrays", tmp_path, file=file, input_key="c")


def test_a_column_may_hold_vectors_or_files(tmp_path: Path) -> None:
    pd.DataFrame({"v": [[1.0, 2.0], [3.0, 4.0]], "labels": [0, 1]}).to_parquet(tmp_path / "v.parquet")
    assert read("arrays", tmp_path, file="v.parquet").images[:, :, 0, 0].tolist() == [[1, 2], [3, 4]]
    for i in range(2):
        save(noise(6, 8, seed=i), tmp_path / f"{i}.png")
    (tmp_path / "f.csv").write_text("name,labels,width\n0.png,a,8\n1.png,,8\n")
    dataset = read("arrays", tmp_path, file="f.csv", input_key="name")
    assert np.array_equal(dataset.images[1, 0], noise(6, 8, seed=1))
    assert (dataset.sample_names, dataset.labels.tolist()) == (("0.png", "1.png"), [0, -1])
    (tmp_path / "f.csv").write_text("name,labels\n0.png,a\n2.png,b\n")
    assert "got '2.png' in row 1" in refused("arrays", tmp_path, file="f.csv", input_key="name")


def test_npy_is_mapped_and_not_read(tmp_path: Path) -> None:
    images = noise(20, 4, 4)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", LABELS)
    dataset = read("arrays", tmp_path, file="x.npy", label_file="y.npy")
    assert np.array_equal(dataset.images[:, 0], images)
    assert np.array_equal(dataset.labels, LABELS)
    base = dataset.images
    while isinstance(base, np.ndarray) and base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    alone = read("arrays", tmp_path, file="x.npy")
    assert (alone.labels == -1).all()
    assert alone.unlabeled_because == "x.npy has no array `labels`, only `x`"


@pytest.mark.parametrize(
    ("labels", "expected", "names"),
    [
        (np.array([0.0, 1, np.nan, -1]), [0, 1, -1, -1], ("0", "1")),
        (np.array([True, False, True, True]), [1, 0, 1, 1], ("False", "True")),
        (np.array(["b", "", "a", "-1"]), [1, -1, 0, -1], ("a", "b")),
        (np.array([b"10", b"9", b"nan", b"10"]), [1, 0, -1, 1], ("9", "10")),
        (np.array([[0], [1], [-1], [1]]), [0, 1, -1, 1], ("0", "1")),
        (np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]]), [1, 0, -1, 1], ("0", "1", "2")),
        (np.array([-1, -1, -1, -1]), [-1] * 4, ()),
        (np.array([3, 7, 7, 7]), [3, 7, 7, 7], tuple("01234567")),
    ],
)
def test_labels_of_every_kind(labels: np.ndarray, expected: list[int], names: tuple[str, ...], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(4, 3), labels=labels)
    dataset = read("arrays", tmp_path, file="a.npz")
    assert (dataset.labels.tolist(), dataset.class_names) == (expected, names)
    assert bool(dataset.unlabeled_because) == (max(expected) < 0)
    assert any("one-hot and taken as 3 classes" in note for note in dataset.notes) == (labels.shape == (4, 3))


def test_cells_of_text_in_mat_files_are_class_names(tmp_path: Path) -> None:
    cells = np.array(["cat", "dog", "", "dog"], dtype=object)
    savemat(tmp_path / "a.mat", {"x": noise(4, 3), "labels": cells})
    assert read("arrays", tmp_path, file="a.mat").class_names == ("cat", "dog")
    assert read("arrays", tmp_path, file="a.mat").labels.tolist() == [0, 1, -1, 1]


def test_text_in_hdf5_files_is_class_names(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", {"x": noise(4, 3)})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["group/y"] = ["cat", "dog", "", "dog"]
    dataset = read("arrays", tmp_path, file="a.h5", input_key="x", label_key="group/y")
    assert (dataset.class_names, dataset.labels.tolist()) == (("cat", "dog"), [0, 1, -1, 1])


def test_text_among_numbers_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,labels\n1,0\n2,?\n3,1\n")
    dataset = read("arrays", tmp_path, file="a.csv")
    assert dataset.class_names == ("0", "1", "?")
    note = "1 labels `labels` in a.csv are text among numbers, each a class of its own, the first is `?` in sample 1"
    assert dataset.notes == (note,)


def test_train_and_test_files_share_their_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(3, 2), labels=["b", "a", ""])
    np.savez(tmp_path / "b.npz", x=noise(2, 2), labels=["b", "b"])
    dataset = read("arrays", tmp_path, file="a.npz", test_file="b.npz")
    assert (dataset.labels.tolist(), dataset.class_names) == ([1, 0, -1, 1, 1], ("a", "b"))
    np.savez(tmp_path / "b.npz", x=noise(2, 2), labels=[0, 1])
    assert "got both" in refused("arrays", tmp_path, file="a.npz", test_file="b.npz")


def test_markers_of_missing_labels_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,labels\n1,NA\n2,cat\n3,\n4,dog\n")
    dataset = read("arrays", tmp_path, file="a.csv")
    assert dataset.labels.tolist() == [-1, 0, -1, 1]
    assert dataset.notes == ("1 labels of a.csv count as missing, the first is `NA` in sample 0",)


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (np.array([0, 1, 255, 255], np.uint8), "got 255 2 times beside labels of at most 1, which is -1"),
        (np.array([0, 1, 0.5, 1]), "got 0.5; give classes, not quantities"),
        (np.array([0, 1, np.inf, 1]), "got inf"),
        (np.array([[1, 1], [0, 1], [1, 0], [0, 1]]), "[1.0, 1.0] in sample 0"),
        (np.array([[0.2, 0.8]] * 4), "probabilities, are not taken"),
        (np.array([0, 1, 0]), "got 3 and 4 for labels and x"),
        (np.zeros((2, 2), int), "got the shape (2, 2) for 4 inputs"),
        (np.array([0, 1, 2, 1j]), "got complex128"),
        (np.array([-3, 0, 1, 2]), "got the label -3"),
    ],
)
def test_labels_of_unclear_meaning_are_refused(labels: np.ndarray, remedy: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(4, 3), labels=labels)
    assert remedy in refused("arrays", tmp_path, file="a.npz")


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        ([0, 1, 3, 3], "none of class 2 (1 of 4 classes have none); number the classes without a gap"),
        ([1, 2, 3, 3], "set data.options.first_label=1"),
        ([0, 0, 0, 0], "at least two classes"),
        ([-1, 1, -1, 1], "-1 means unlabeled, so write another number if it is a class"),
        ([-1, -1, -1, -1], "got none: no value of `labels` in a.npz is a label"),
    ],
)
def test_classes_to_learn_from_are_checked(labels: list[int], remedy: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(4, 3), labels=labels)
    assert read("arrays", tmp_path, file="a.npz").labels.tolist() == labels
    with pytest.raises(StudyError) as caught:
        load_dataset(DataConfig(name="arrays", root=str(tmp_path), options={"file": "a.npz"}, label_ratio=0.5))
    assert remedy in str(caught.value)
    assert "first_label=-1" not in str(caught.value)


def test_a_class_or_label_that_only_the_test_lacks_or_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=noise(4, 3), labels=[0, 1, 0, 1])
    data = DataConfig(
        name="arrays", root=str(tmp_path), options={"file": "a.npz", "test_file": "b.npz"}, label_ratio=0.5
    )
    for labels, remedy in (([0, 2], "got only test samples of class 2"), ([0, -1], "got none for 1 of 2")):
        np.savez(tmp_path / "b.npz", x=noise(2, 3), labels=labels)
        with pytest.raises(StudyError) as caught:
            load_dataset(data)
        assert remedy in str(caught.value)
    np.savez(tmp_path / "b.npz", x=noise(2, 3), labels=[1, 1])
    assert load_dataset(data).labels.tolist() == [0, 1, 0, 1, 1, 1]


def test_inputs_are_found_or_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", features=noise(4, 3), labels=[0, 1, 0, 1])
    assert read("arrays", tmp_path, file="one.npz").shape == (3, 1, 1)
    np.savez(tmp_path / "two.npz", a=noise(4, 3), b=noise(4, 2), y=[0, 1, 0, 1])
    assert "set it to one of `a`, `b`, `y`" in refused("arrays", tmp_path, file="two.npz")
    assert "array `c` must stand in two.npz" in refused("arrays", tmp_path, file="two.npz", input_key="c")
    dataset = read("arrays", tmp_path, file="two.npz", input_key="a")
    assert dataset.unlabeled_because == "two.npz has no array `labels`, only `a`, `b`, `y`"
    assert read("arrays", tmp_path, file="two.npz", input_key="a", label_key="").class_names == ()
    np.savez(tmp_path / "odd.npz", x=noise(4, 3), labels=[0, 1, 0, 1], other=np.array([{}, 1], dtype=object))
    assert read("arrays", tmp_path, file="odd.npz", input_key="x").labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (noise(4, 5, 5) / 255.0, 1.0),
        (noise(4, 5, 5).astype(np.float32), 255.0),
        (noise(4, 3, 5, 5).astype(np.int64), 255.0),
        (noise(4, 5, 5, 3).astype(np.uint16) * 257, 65535.0),
        (noise(4, 5, 5).astype(np.uint16), 255.0),
        (noise(4, 5, 5) * 1e-5, None),
        (noise(4, 5, 5) * (16 / 255), None),
        (noise(4, 5, 5) > 99, 1.0),
        (noise(4, 5, 5) // 16, 15.0),
    ],
)
def test_images_of_all_numbers_become_bytes(images: np.ndarray, white: float | None, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images)
    dataset = read("arrays", tmp_path, file="a.npz")
    assert dataset.images.dtype == np.uint8
    expected = images * (255 / (images.max() if white is None else white))
    layout = {3: (0, 1, 2), 4: (0, 3, 1, 2) if images.shape[-1] == 3 else (0, 1, 2, 3)}[images.ndim]
    found = dataset.images[:, 0] if images.ndim == 3 else dataset.images
    assert np.abs(found - expected.transpose(layout)).max() <= 0.5 + 1e-6
    again = read("arrays", tmp_path, file="a.npz", max_pixel=dataset.decoding["max_pixel"])
    assert np.array_equal(dataset.images, again.images)


def test_dark_test_images_stay_dark(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=noise(4, 5, 5), labels=[0, 1, 0, 1])
    np.savez(tmp_path / "b.npz", images=noise(2, 5, 5) // 20, labels=[0, 1])
    dataset = read("arrays", tmp_path, file="a.npz", test_file="b.npz")
    assert np.array_equal(dataset.images[4:, 0], noise(2, 5, 5) // 20)
    assert dataset.decoding == {"max_pixel": 255.0, "pixels": "|u1"}


def test_images_that_are_standardised_or_blank_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).normal(size=(4, 5, 5)))
    assert "before they are standardised" in refused("arrays", tmp_path, file="a.npz")
    images = noise(4, 5, 5)
    images[2] = 7
    np.savez(tmp_path / "a.npz", images=images)
    notes = read("arrays", tmp_path, file="a.npz").notes
    assert notes == ("1 images have next to no contrast, the first is sample 2 of images in a.npz",)
    notes = read("arrays", tmp_path, file="a.npz", max_pixel=100).notes
    assert "3 images have pixels above that, which become white, the first is sample 0" in notes


def test_features_that_fp32_cannot_resolve_are_noted(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(50, 3))
    features[:, 1] = 1e9 + features[:, 1]
    features[:, 2] = 4
    np.savez(tmp_path / "a.npz", x=features)
    notes = read("arrays", tmp_path, file="a.npz").notes
    assert notes[0] == "1 features of x in a.npz are constant, the first is feature 2"
    assert notes[1].startswith("1 features of x in a.npz vary too little around their mean for fp32: subtract the mean")
    np.savez(tmp_path / "a.npz", x=features[:, :1] * 1e-42)
    assert read("arrays", tmp_path, file="a.npz").notes[0].startswith("1 features of x in a.npz vary by less than fp32")


@pytest.mark.parametrize("file", [*WRITERS, "a.csv", "a.parquet", "a.npy"])
def test_damaged_and_mislabeled_files_are_named(file: str, tmp_path: Path) -> None:
    content = {"images": noise(20, 6).astype(np.float32), "labels": LABELS}
    np.savez(tmp_path / "other.npz", **content)
    if file in WRITERS:
        WRITERS[file](tmp_path / file, content)
    else:
        np.save(tmp_path / "whole.npy", content["images"])
        (tmp_path / "whole.npy").rename(tmp_path / file)
    whole = (tmp_path / file).read_bytes()
    damaged = [b"", b"garbage", whole[: len(whole) // 2], b"\xff\x00" * 50]
    for blob in damaged if file.endswith("npz") else [*damaged, (tmp_path / "other.npz").read_bytes()]:
        (tmp_path / file).write_bytes(blob)
        message = refused("arrays", tmp_path, file=file)
        assert file in message
        assert "allow_pickle" not in message
    (tmp_path / file).unlink()
    assert "must name files that exist" in refused("arrays", tmp_path, file=file)


def test_files_of_other_formats_and_missing_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    assert "must end in .npz, .npy" in refused("arrays", tmp_path, file="a.xlsx")
    write_hdf5(tmp_path / "a.h5", {"images": noise(4, 3)})
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> object:
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert "pip install 'supercm-ray[data]'" in refused("arrays", tmp_path, file="a.h5")


def test_what_a_pickle_would_run_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"images": Evil()}, tmp_path / "a.pt")
    assert "a.pt" in refused("arrays", tmp_path, file="a.pt")
    assert not (tmp_path / "ran").exists()


def test_ragged_members_are_refused(tmp_path: Path) -> None:
    torch.save({"images": [[1, 2], [3]], "labels": [0, 1]}, tmp_path / "a.pt")
    assert "must be an array of one shape" in refused("arrays", tmp_path, file="a.pt")
    torch.save((torch.ones(4, 3), torch.tensor([0, 1, 0, 1])), tmp_path / "b.pt")
    assert read("arrays", tmp_path, file="b.pt", input_key="0", label_key="1").labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "a.csv").write_text("x,labels\n1,0\n2,1,7\n")
    assert "a.csv" in refused("arrays", tmp_path, file="a.csv")
    (tmp_path / "a.csv").write_text("x,labels\n1,0,5\n2,1,7\n")
    assert "a.csv" in refused("arrays", tmp_path, file="a.csv")


def test_readers_import_optional_libraries_late() -> None:
    source = Path(str(sys.modules["supercm_ray.data.array_files"].__file__)).read_text()
    assert "import h5py" not in source
    assert "import pandas" not in source
