"""Sources beside one another agree on what columns, pixels, labels and test samples mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sources import checked, config, noise, read, save, stopped

from supercm_ray.config import PlaceConfig
from supercm_ray.data import Dataset, decoding, load_dataset, read_inputs, sample_digests, split_dataset
from supercm_ray.data.images import SelectedImages
from supercm_ray.errors import StudyError

NAMES = ["a", "b", "c", "d"]


def vectors(num_samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(seed).normal(size=(num_samples, 4)).astype(np.float32), np.arange(num_samples) % 3


def arrays(root: Path, file: str = "a.npz", **data: object) -> dict[str, object]:
    return {"name": "arrays", "root": str(root), "options": {"file": file}, "labels_per_class": 2, **data}


def beside(file: str, **options: object) -> dict[str, object]:
    return {"name": "arrays", "options": {"file": file, **options}}


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """The table of `a.csv`, of which `b.csv` has other samples in another order of columns."""
    for seed, file in enumerate(("b.csv", "a.csv")):
        inputs, labels = vectors(60, seed)
        frame = pd.DataFrame(inputs, columns=NAMES).assign(labels=labels)
        frame[frame.columns[:: 2 * seed - 1]].to_csv(tmp_path / file, index=False)
    return frame


@pytest.mark.parametrize("key", ["test", "unlabeled", "target", "test_file"])
def test_columns_are_matched_by_name(key: str, table: pd.DataFrame, tmp_path: Path) -> None:
    data = arrays(tmp_path, "a.csv", **({} if key == "test_file" else {key: beside("b.csv")}))
    if key == "test_file":
        data["options"] = {"file": "a.csv", "test_file": "b.csv"}
    dataset, _ = checked(config(data))
    assert dataset.columns == tuple(NAMES)
    np.testing.assert_allclose(dataset.images[:60, :, 0, 0], table[NAMES], rtol=1e-6)
    np.testing.assert_allclose(dataset.images[60:, :, 0, 0], vectors(60, 0)[0], rtol=1e-6)


def test_columns_that_are_missing_or_too_many(table: pd.DataFrame, tmp_path: Path) -> None:
    more = pd.DataFrame(vectors(9, 2)[0], columns=NAMES).assign(id=range(9))
    more.to_csv(tmp_path / "b.csv", index=False)
    dataset, _ = checked(config(arrays(tmp_path, "a.csv", unlabeled=beside("b.csv"))))
    np.testing.assert_allclose(dataset.images[60:, :, 0, 0], vectors(9, 2)[0], rtol=1e-6)
    more.drop(columns="c").to_csv(tmp_path / "b.csv", index=False)
    assert "`c`" in stopped(config(arrays(tmp_path, "a.csv", unlabeled=beside("b.csv"))))


def test_new_tables_take_the_order_of_the_model(table: pd.DataFrame, tmp_path: Path) -> None:
    place = PlaceConfig.model_validate({"name": "arrays", "root": str(tmp_path), "options": {"file": "a.csv"}})
    found = read_inputs(place, [tmp_path / "b.csv"], shape=(4, 1, 1), columns=tuple(NAMES))
    np.testing.assert_allclose(found.images[:, :, 0, 0], vectors(60, 0)[0], rtol=1e-6)


def test_all_splits_may_stand_in_one_file(tmp_path: Path) -> None:
    parts = {name: vectors(num, seed) for seed, (name, num) in enumerate({"train": 60, "test": 30, "more": 20}.items())}
    content = {f"{key}_{name}": part[i] for name, part in parts.items() for i, key in enumerate("xy")}
    np.savez(tmp_path / "a.npz", **{name: array for name, array in content.items() if name != "y_more"})
    data = arrays(
        tmp_path,
        test=beside("a.npz", input_key="x_test", label_key="y_test"),
        unlabeled=beside("a.npz", input_key="x_more"),  # labels of another length are not read
    )
    data["options"] = {"file": "a.npz", "input_key": "x_train", "label_key": "y_train"}
    dataset, splits = checked(config(data))
    assert splits.counts == {"labeled": 6, "unlabeled": 48 + 20, "val": 6, "test": 30}
    assert np.array_equal(dataset.images[-30:, :, 0, 0], content["x_test"])
    assert "must differ" in stopped(config({**data, "test": beside("a.npz", input_key="x_train")}))


def test_labels_of_further_unlabeled_samples_are_not_read(tmp_path: Path) -> None:
    for seed, (file, labels) in enumerate({"a.npz": vectors(60)[1], "b.npz": np.full(60, 0.5)}.items()):
        np.savez(tmp_path / file, images=vectors(60, seed)[0], labels=labels)
    dataset, splits = checked(config(arrays(tmp_path, unlabeled=beside("b.npz"))))
    assert (dataset.labels[60:] == -1).all()
    assert np.isin(np.arange(60, 120), splits.unlabeled).all()


def test_a_source_s_own_test_samples_are_neither_training_nor_lost(tmp_path: Path) -> None:
    for seed, file in enumerate("abc"):
        inputs, labels = vectors(60, seed)
        np.savez(tmp_path / f"{file}.npz", images=inputs, labels=labels)
    own = beside("b.npz", test_file="c.npz")
    dataset, splits = checked(config(arrays(tmp_path, unlabeled=own)))
    assert len(dataset.labels) == 120
    assert dataset.notes == ("left out 60 test samples of arrays (of data.unlabeled)",)
    dataset, splits = checked(config(arrays(tmp_path, test=own)))
    assert np.array_equal(dataset.images[splits.test, :, 0, 0], vectors(60, 2)[0])
    assert dataset.notes == ("left out 60 samples of arrays that are not its test samples (of data.test)",)


def test_test_samples_of_a_target_need_labels(tmp_path: Path) -> None:
    for seed, file in enumerate("abcd"):
        inputs, labels = vectors(60, seed)
        np.savez(tmp_path / f"{file}.npz", images=inputs, labels=np.where(file == "c", -1, labels))
    target = beside("b.npz", test_file="c.npz")
    assert "every test sample must have a label" in stopped(config(arrays(tmp_path, target=target)))
    _, splits = checked(config(arrays(tmp_path, target=target, test=beside("d.npz"))))
    assert splits.counts["test"] == 60


def test_classes_that_are_matched_by_their_order_are_said(tmp_path: Path) -> None:
    for seed, (file, names) in enumerate({"a.npz": np.array(["cat", "dog", "owl"]), "b.npz": np.arange(3)}.items()):
        inputs, labels = vectors(60, seed)
        np.savez(tmp_path / file, images=inputs, labels=names[labels])
    said = "has numbers for them: 0 is cat, 1 is dog, 2 is owl"
    for first, other in (("a.npz", "b.npz"), ("b.npz", "a.npz")):
        for key in ("test", "target"):
            dataset, _ = checked(config(arrays(tmp_path, first, **{key: beside(other)})))
            assert [note.startswith(f"classes of data.{key}") and said in note for note in dataset.notes] == [True]
            assert np.array_equal(dataset.labels[60:], np.arange(60) % 3)


def test_pixels_of_other_types_keep_their_range(tmp_path: Path) -> None:
    images = noise(60, 5, 5)
    kinds = {
        "bytes": images,
        "floats": images / 255,
        "words": images.astype(np.uint16) * 257,
        "whole": images.astype(int),
        "floats to 255": images.astype(np.float32),
    }
    for name, found in kinds.items():
        np.savez(tmp_path / f"{name}.npz", images=found, labels=np.arange(60) % 3)
    for name in kinds:
        for other in kinds:
            if name != other:
                data = config(arrays(tmp_path, f"{name}.npz", unlabeled=beside(f"{other}.npz"))).data
                assert np.array_equal(load_dataset(data).images[60:, 0], images), (name, other)
    np.savez(tmp_path / "dark.npz", images=images // 20)
    dark = load_dataset(config(arrays(tmp_path, "bytes.npz", unlabeled=beside("dark.npz"))).data)
    assert np.array_equal(dark.images[60:, 0], images // 20)


def pictures(root: Path, stream: str, **data: object) -> Dataset:
    options = {"image_size": 6, "stream": stream}
    return load_dataset(config({"name": "image_folder", "root": str(root), "options": options, **data}).data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        shape = (6, 6) if i % 2 else (6, 6, 3)
        save(noise(*shape, seed=i), tmp_path / "a" / ("train", "test")[i // 6] / "xy"[i // 2 % 2] / f"{i}.png")
        save(noise(9, 7, seed=i), tmp_path / "b" / "xy"[i % 2] / f"{i}.png")
        save(noise(6, 6, seed=i), tmp_path / "c" / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("key", ["unlabeled", "test", "target"])
def test_streamed_images_are_decoded_once_before_training(
    key: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {key: {"name": "image_folder", "root": str(folder / "b")}}
    stacked = sample_digests(pictures(folder / "a", "off", **more))
    dataset = pictures(folder / "a", "on", **more)
    monkeypatch.setattr(decoding, "decode", None)
    monkeypatch.setattr("supercm_ray.data.images.decode", None)
    if key == "test":
        assert isinstance(dataset.images.source, SelectedImages)  # type: ignore[union-attr]
    if dataset.images.target.shape[1] == 3:  # type: ignore[union-attr]
        assert np.array_equal(sample_digests(dataset), stacked)
    else:
        monkeypatch.undo()  # grey images beside images in colour are converted, and therefore read
        assert np.array_equal(sample_digests(dataset), stacked)


def test_the_same_image_is_known_whatever_its_source(folder: Path) -> None:
    dataset = pictures(folder / "a", "on", unlabeled={"name": "image_folder", "root": str(folder / "c")})
    digests = sample_digests(dataset)
    assert np.isin(digests[8:], digests[:8]).tolist() == [False, True] * 4


def test_labels_in_a_table_of_images_are_names(tmp_path: Path) -> None:
    for i in range(12):
        save(noise(5, 5, seed=i), tmp_path / f"{i:04d}.png")
    lines = [f"{i:04d},{(5, 10, 7)[i % 3] if i < 9 else ''}" for i in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *lines]))
    dataset = read("image_folder", tmp_path, labels_file="labels.csv", image_size=5)
    assert dataset.class_names == ("5", "7", "10")
    assert dataset.labels.tolist() == [0, 2, 1] * 3 + [-1] * 3


def test_validation_samples_of_its_own_have_every_class(folder: Path) -> None:
    save(noise(6, 6), folder / "a" / "val" / "x" / "v.png")
    chosen = config({"name": "image_folder", "root": str(folder / "a"), "options": {"image_size": 6}})
    with pytest.raises(
        StudyError, match=r"validation samples of the data set's own, got 1 for 2 classes .* class 1; add"
    ):
        split_dataset(load_dataset(chosen.data), chosen)
