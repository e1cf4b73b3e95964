"""Two domains as one data set: shapes, classes, splits, and whose labels count."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from sources import save

from supercm_ray.config import Config, DataConfig, PlaceConfig
from supercm_ray.data import UNLABELED, Dataset, join_domains, load_dataset, read_inputs, split_dataset
from supercm_ray.data.loading import further_sources, place_beside
from supercm_ray.errors import StudyError

REAL = Path(os.environ.get("SUPERCM_DATA", ""))
needs_real_data = pytest.mark.skipif(
    "SUPERCM_DATA" not in os.environ, reason="SUPERCM_DATA does not name the data sets"
)
PAIR = DataConfig(name="digits_even", target=PlaceConfig(name="digits_odd_blurred"))


def noise(
    name: str, shape: tuple[int, int, int], num_classes: int = 3, num_samples: int = 60, seed: int = 0
) -> Dataset:
    images = np.random.default_rng(seed).integers(0, 256, (num_samples, *shape)).astype(np.uint8)
    labels = np.arange(num_samples) % num_classes
    statistics = (0.5,) * shape[0]
    return Dataset(name, images, labels, tuple(map(str, range(num_classes))), statistics, statistics)


def test_the_embedded_pair_shares_no_image() -> None:
    pair, digits = load_dataset(PAIR), load_dataset(DataConfig(label_ratio=0.1))
    source = np.delete(np.arange(len(pair.labels)), pair.target_indices)
    assert np.array_equal(pair.images[source], digits.images[::2])
    assert np.array_equal(pair.labels[pair.target_indices], digits.labels[1::2])
    sharp, blurred = digits.images[1].astype(float), pair.images[pair.target_indices][0]
    assert blurred[0, 3, 4] == round(sharp[0, 2:5, 3:6].mean())
    assert blurred[0, 0, 1] == round(sharp[0, :2, :3].sum() / 9)


def test_splits_take_labels_from_the_source_and_the_test_from_the_target() -> None:
    pair = load_dataset(PAIR)
    splits = split_dataset(pair, Config(data=PAIR))
    target = set(pair.target_indices.tolist())
    assert not target & set(splits.labeled.tolist()) | (target & set(splits.val.tolist()))
    assert set(splits.unlabeled.tolist()) | set(splits.test.tolist()) == target
    assert len(splits.test) == round(0.25 * len(target))
    every = np.concatenate([splits.labeled, splits.unlabeled, splits.val, splits.test])
    assert sorted(every) == list(range(len(pair.labels)))


def test_target_labels_decide_nothing() -> None:
    pair = load_dataset(PAIR)
    labels = pair.labels.copy()
    labels[pair.target_indices] = np.random.default_rng(0).permutation(labels[pair.target_indices])
    poisoned = dataclasses.replace(pair, labels=labels)
    for seed in (0, 1):
        ours, theirs = (split_dataset(one, Config(seed=seed, data=PAIR)) for one in (pair, poisoned))
        assert all(
            np.array_equal(getattr(ours, n), getattr(theirs, n)) for n in ("labeled", "unlabeled", "val", "test")
        )


def test_fewer_source_labels_may_be_asked_for() -> None:
    data = PAIR.model_copy(update={"labels_per_class": 5})
    pair = load_dataset(data)
    splits = split_dataset(pair, Config(data=data))
    assert np.bincount(pair.labels[splits.labeled]).tolist() == [5] * 10


def test_target_images_take_the_shape_of_the_source() -> None:
    colour, grey = noise("colour", (3, 8, 8)), noise("grey", (1, 16, 16), seed=1)
    assert join_domains(colour, grey).images.shape == (120, 3, 8, 8)
    joined = join_domains(grey, colour)
    assert joined.images.shape == (120, 1, 16, 16)
    assert joined.images.dtype == np.uint8
    flat = dataclasses.replace(grey, images=np.full((60, 1, 16, 16), 77, dtype=np.uint8))
    assert (join_domains(colour, flat).images[60:] == 77).all()
    same = join_domains(grey, flat)
    assert np.array_equal(same.images, np.concatenate([grey.images, flat.images]))


def test_a_target_s_own_test_samples_are_the_test() -> None:
    source, target = noise("a", (1, 8, 8)), noise("b", (1, 8, 8), seed=1)
    joined = join_domains(source, dataclasses.replace(target, test_indices=np.arange(50, 60)))
    assert np.array_equal(split_dataset(joined, Config(data=PAIR)).test, np.arange(110, 120))


def test_domains_that_do_not_fit_are_refused() -> None:
    source = noise("a", (1, 8, 8))
    with pytest.raises(StudyError, match="got 3 in a and 4 in b that differ in 3"):
        join_domains(source, noise("b", (1, 8, 8), num_classes=4))
    named = dataclasses.replace(source, class_names=("cat", "dog", "owl"))
    other = dataclasses.replace(noise("b", (1, 8, 8)), class_names=("cat", "dog", "hen"))
    with pytest.raises(StudyError, match="differ in hen, owl"):
        join_domains(named, other)
    vectors = dataclasses.replace(source, images=np.ones((60, 5, 1, 1), dtype=np.float32))
    with pytest.raises(StudyError, match="vectors of one length"):
        join_domains(vectors, source)


def test_names_of_classes_are_compared_wherever_both_domains_have_them() -> None:
    def named(name: str, *names: str) -> Dataset:
        return dataclasses.replace(noise(name, (1, 8, 8), num_classes=len(names)), class_names=names)

    def unnamed(name: str, num_classes: int) -> Dataset:
        return dataclasses.replace(noise(name, (1, 8, 8), num_classes=num_classes), has_class_names=False)

    with pytest.raises(StudyError, match="got 3 in low and 3 in high that differ in 0, 1, 2, 7, 8"):
        join_domains(named("low", "0", "1", "2"), named("high", "7", "8", "9"))
    with pytest.raises(StudyError, match="differ in 0, 1, cat, dog"):
        join_domains(named("numbers", "0", "1"), named("words", "cat", "dog"))
    swapped = join_domains(named("a", "cat", "dog"), named("b", "dog", "cat"))
    assert swapped.class_names == ("cat", "dog")
    assert swapped.labels[swapped.target_indices].tolist() == [1, 0] * 30, "labels follow the names"
    with pytest.raises(StudyError, match="got 2 in words and 3 in arrays; name another"):
        join_domains(named("words", "cat", "dog"), unnamed("arrays", 3))
    for source, target in ((named("a", "cat", "dog"), unnamed("b", 2)), (unnamed("a", 2), named("b", "cat", "dog"))):
        joined = join_domains(source, target)
        assert (joined.class_names, joined.has_class_names) == (("cat", "dog"), True)
    assert not join_domains(unnamed("a", 2), unnamed("b", 2)).has_class_names


@needs_real_data
@pytest.mark.parametrize(
    ("source", "target", "differing"),
    [
        ("usps", "digits", ""),
        ("digits", "usps", ""),
        ("fashion_mnist", "usps", "differ in 0, 1, 2"),
        ("usps", "mnist", ""),
    ],
)
def test_real_pairs_of_digits_fit_and_others_do_not(source: str, target: str, differing: str, tmp_path: Path) -> None:
    for folder in ("MNIST", "FashionMNIST", "USPS"):
        shutil.copytree(REAL / folder, tmp_path / folder, copy_function=shutil.copyfile)
        for path in (tmp_path / folder, *(tmp_path / folder).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    of_source, of_target = ({} if name == "digits" else {"download": True} for name in (source, target))
    place = PlaceConfig(name=target, options=of_target)
    data = DataConfig(name=source, root=str(tmp_path), options=of_source, target=place)
    if not differing:
        assert load_dataset(data).class_names == tuple("0123456789")
        return
    with pytest.raises(StudyError, match=differing):
        load_dataset(data)


@needs_real_data
def test_a_real_pair_of_features_fits() -> None:
    keys = {"input_key": "fts", "label_key": "labels", "first_label": 1}
    source, target = (
        PlaceConfig(
            name="arrays",
            root=str(REAL),
            options={"file": f"OfficeCaltech10/features/GoogleNet1024_{domain}.mat", **keys},
        )
        for domain in ("webcam", "dslr")
    )
    pair = load_dataset(DataConfig(**dict(source), target=target))
    assert (pair.num_classes, pair.has_class_names) == (10, False)


def test_samples_that_the_source_keeps_for_its_test_are_left_out() -> None:
    source = dataclasses.replace(noise("a", (1, 8, 8)), test_indices=np.arange(40, 60))
    joined = join_domains(source, noise("b", (1, 8, 8), seed=1))
    assert len(joined.labels) == 40 + 60
    assert np.array_equal(joined.images[:40], source.images[:40])
    assert np.array_equal(joined.target_indices, np.arange(40, 100))


def test_the_target_takes_what_it_leaves_out_from_the_source_and_is_another() -> None:
    place = place_beside(
        DataConfig(name="usps", root="here", options={"download": True}, label_ratio=0.1),
        PlaceConfig(name="mnist"),
        "target",
    )
    assert (place.name, place.root, place.options.download) == ("mnist", "here", True)
    assert (
        place_beside(
            DataConfig(name="usps", root="here", label_ratio=0.1), PlaceConfig(name="mnist", root="there"), "target"
        ).root
        == "there"
    )
    with pytest.raises(StudyError, match="must differ from the data set itself"):
        place_beside(DataConfig(name="digits", label_ratio=0.1), PlaceConfig(name="digits"), "target")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, (8, True, 4, "auto")), ({"image_size": 6, "stream": "on", "stream_threads": 2}, (6, True, 2, "on"))],
)
def test_the_target_takes_options_that_say_what_its_images_become(given: dict[str, object], expected: tuple) -> None:
    source = {"image_size": 8, "skip_corrupt": True, "stream": "off", "stream_threads": 3}
    data = DataConfig(name="image_folder", root="here", label_ratio=0.1, options=source)
    options = place_beside(data, PlaceConfig(name="image_folder", root="there", options=given), "target").options
    assert (options.image_size, options.skip_corrupt, options.stream_threads, options.stream) == expected
    with pytest.raises(StudyError, match="must differ from the data set itself"):
        place_beside(data, PlaceConfig(name="image_folder", options=given), "target")


def test_two_files_of_a_folder_are_two_domains() -> None:
    data = DataConfig(name="arrays", root="here", label_ratio=0.1, options={"file": "a.npz", "test_file": "t.npz"})
    place = place_beside(data, PlaceConfig(name="arrays", options={"file": "b.npz"}), "target")
    assert (place.root, place.options.file, place.options.test_file) == ("here", "b.npz", None)
    with pytest.raises(StudyError, match="must differ from the data set itself"):
        place_beside(data, PlaceConfig(name="arrays", options=data.options), "target")


def test_a_target_without_labels_has_no_test_split() -> None:
    pair = load_dataset(PAIR)
    hidden = pair.mask_test_split(pair.target_indices)
    ours, theirs = (split_dataset(one, Config(data=PAIR)) for one in (pair, hidden))
    assert np.array_equal(ours.labeled, theirs.labeled) and np.array_equal(ours.val, theirs.val)
    assert not len(theirs.test)
    assert np.array_equal(theirs.unlabeled, pair.target_indices)


def test_transductive_training_sees_every_target_sample() -> None:
    pair = load_dataset(PAIR)
    few = dataclasses.replace(pair, labels=pair.labels.copy())
    few.labels[few.target_indices[7:]] = UNLABELED
    splits = split_dataset(few, Config(data=PAIR.model_copy(update={"transductive": True})))
    assert np.array_equal(splits.unlabeled, pair.target_indices)
    assert np.array_equal(splits.test, pair.target_indices[:7])


def test_a_class_without_a_source_sample_is_named_with_the_setting_that_is_set() -> None:
    pair = load_dataset(PAIR)
    labels = pair.labels.copy()
    labels[np.flatnonzero(labels[: len(labels) - len(pair.target_indices)] == 3)[1:]] = 4
    rare = dataclasses.replace(pair, labels=labels)
    for update in ({}, {"num_val": 500}, {"labels_per_class": 2}):
        data = PAIR.model_copy(update=update)
        with pytest.raises(StudyError, match="for class 3") as caught:
            split_dataset(rare, Config(data=data))
        assert "None" not in str(caught.value)
    data = PAIR.model_copy(update={"num_val": 898})
    with pytest.raises(StudyError, match=r"num_val=898, which gives 1 labeled samples .* lower it"):
        split_dataset(pair, Config(data=data))


def test_settings_that_leave_a_split_empty_are_named() -> None:
    pair = load_dataset(PAIR)
    with pytest.raises(StudyError, match=r"data\.num_val, got 5000 of 899"):
        split_dataset(pair, Config(data=PAIR.model_copy(update={"num_val": 5000})))
    few = dataclasses.replace(pair, target_indices=pair.target_indices[:3])
    with pytest.raises(StudyError, match=r"data\.test_fraction, got 0 test and 3 unlabeled samples of 3"):
        split_dataset(few, Config(data=PAIR.model_copy(update={"test_fraction": 0.1})))


def test_new_images_of_the_target_are_decoded_as_the_target_was(tmp_path: Path) -> None:
    """A source of 8 bits, a target of 10 bits in 16."""
    for i in range(8):
        image = np.random.default_rng(i).integers(0, 256, (8, 8))
        for folder, saved in (("source", image.astype(np.uint8)), ("target", (4 * image).astype(np.uint16))):
            save(saved, tmp_path / folder / "ab"[i % 2] / f"{i}.png")
    data = DataConfig.model_validate(
        {
            "name": "image_folder",
            "root": str(tmp_path / "source"),
            "options": {"image_size": 8},
            "target": {"name": "image_folder", "root": str(tmp_path / "target")},
        }
    )
    pair = load_dataset(data)
    place = further_sources(data)["target"]
    new = read_inputs(place, [tmp_path / "target"], shape=pair.shape, decoding=pair.decoding)
    assert np.array_equal(new.images, pair.images[pair.target_indices])
    assert new.images.std() > 50
