"""Data of which few samples have a label: further sources, and how each kind of sample is split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import DATASETS, UNLABELED, Dataset, load_dataset, split_dataset
from supercm_ray.errors import StudyError

RNG = np.random.default_rng(0)


def vectors(num_samples: int, labels: np.ndarray | None = None, classes: str = "abc", **more: object) -> Dataset:
    """Random vectors, unlabeled without `labels`."""
    inputs = RNG.normal(size=(num_samples, 5, 1, 1)).astype(np.float32)
    known = {"labels": np.full(num_samples, UNLABELED), "class_names": (), "unlabeled_because": "nobody labeled it"}
    if labels is not None:
        known = {"labels": labels, "class_names": tuple(classes)}
    return Dataset("vectors", inputs, mean=(0.0,), std=(1.0,), **{**known, **more})


@pytest.fixture
def few() -> Iterator[None]:
    """The source `few`, of 30 labeled and 60 unlabeled samples, and others that stand beside it."""
    mixed = np.where(np.arange(90) % 3 == 0, np.arange(90) // 3 % 3, UNLABELED)
    sources = {
        "few": vectors(90, mixed),
        "more": vectors(40),
        "labeled_more": vectors(40, np.arange(40) % 3),
        "test": vectors(20, np.arange(20) % 2, "ba"),
        "strange": vectors(20, np.arange(20) % 2, "ax"),
        "images": dataclasses.replace(vectors(20), images=np.zeros((20, 1, 4, 4), np.uint8)),
    }
    for name, dataset in sources.items():
        DATASETS.add(name, lambda place, options, dataset=dataset: dataset)
    yield
    for name in sources:
        DATASETS.remove(name)


def config(**data: object) -> Config:
    return Config(data=DataConfig.model_validate({"name": "few", "num_val": 6, "test_fraction": 0.2, **data}))


def counts(chosen: Config) -> tuple[int, ...]:
    return tuple(split_dataset(load_dataset(chosen.data), chosen).counts.values())


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, (18, 60, 6, 6)),
        ({"labels_per_class": 2}, (6, 72, 6, 6)),
        ({"label_ratio": 0.5}, (9, 69, 6, 6)),
        ({"label_ratio": 1.0}, (18, 60, 6, 6)),
        ({"labeled_in_unlabeled": True}, (18, 78, 6, 6)),
        ({"test_fraction": 0.0}, (24, 60, 6, 0)),
        ({"unlabeled": {"name": "more"}}, (18, 100, 6, 6)),
        ({"unlabeled": {"name": "labeled_more"}}, (18, 100, 6, 6)),
        ({"test": {"name": "test"}}, (24, 60, 6, 20)),
        ({"test": {"name": "test"}, "val_fraction": 0.3, "num_val": None}, (21, 60, 9, 20)),
        ({"target": {"name": "more"}}, (24, 40, 6, 0)),
        ({"target": {"name": "more"}, "unlabeled": {"name": "labeled_more"}}, (24, 80, 6, 0)),
        ({"target": {"name": "more"}, "test": {"name": "test"}}, (24, 40, 6, 20)),
        ({"target": {"name": "labeled_more"}}, (24, 32, 6, 8)),
        ({"target": {"name": "labeled_more"}, "transductive": True}, (24, 40, 6, 40)),
    ],
)
def test_each_kind_of_sample_is_counted(data: dict[str, object], expected: tuple[int, ...]) -> None:
    assert counts(config(**data)) == expected


@pytest.mark.usefixtures("few")
def test_labels_of_a_test_source_follow_class_names() -> None:
    dataset = load_dataset(config(test={"name": "test"}).data)
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.labels[dataset.test_indices].tolist() == [1, 0] * 10


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "more"}, "some samples must have labels .* nobody labeled it; name the labels"),
        ({"test": {"name": "more"}}, "every test sample must have a label for data.test, got nobody labeled it"),
        ({"test": {"name": "strange"}}, "same classes for data.test, .* differ in b, c, x"),
        ({"unlabeled": {"name": "images"}}, "vectors of one length, for data.unlabeled"),
        ({"labels_per_class": 9}, "labels_per_class=9, with only 6 in class"),
        ({"num_val": 2}, "every class must have a val sample"),
        ({"num_val": 24}, "must be left to train on"),
        ({"test_fraction": 0.05}, "every class must have a test sample .*data.test_fraction=0"),
        ({"unlabeled": {"name": "few"}}, "data.unlabeled must differ from the data set itself"),
    ],
)
def test_what_does_not_fit_is_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        counts(config(**data))


@pytest.mark.usefixtures("few")
def test_no_unlabeled_sample_is_an_error_only_where_steps_draw_some() -> None:
    labeled = {"name": "labeled_more", "label_ratio": 1.0}
    with pytest.raises(StudyError, match=r"label_ratio=1\.0 and no sample without a label.*labeled_in_unlabeled=true"):
        counts(config(**labeled))
    assert counts(config(**labeled, labeled_in_unlabeled=True)) == (26, 26, 6, 8)
    alone = config(**labeled).replace({"training.unlabeled_batch_size": 0})
    assert counts(alone) == (26, 0, 6, 8)


@pytest.mark.usefixtures("few")
def test_transductive_needs_a_target_and_its_samples() -> None:
    for data in ({"transductive": True}, {"transductive": True, "target": {"name": "more"}, "test": {"name": "test"}}):
        with pytest.raises(ValueError, match="transductive"):
            config(**data)


def test_masking_keeps_transductive_inputs() -> None:
    dataset = vectors(10, np.arange(10) % 3)
    masked = dataset.mask_test_split(np.array([1, 2]), trained=np.array([2, 3]))
    assert (masked.labels[[1, 2]] == UNLABELED).all()
    assert not masked.images[1].any()
    assert np.array_equal(masked.images[2], dataset.images[2])


@pytest.mark.parametrize("options", [{}, {"input_key": "f*"}], ids=["all columns", "a pattern"])
def test_further_tables_are_read_by_the_names_of_columns(tmp_path: Path, options: dict[str, object]) -> None:
    rows = [f"{i},{100 + i},{'ab'[i % 2]}" for i in range(8)]
    (tmp_path / "train.csv").write_text("\n".join(["f1,f2,labels", *rows]))
    (tmp_path / "other.csv").write_text("f2,labels,f1\n200,a,50\n201,b,51\n")
    place = {"name": "arrays", "options": {"file": "other.csv"}}
    for further in ({"test": place}, {"unlabeled": place}, {"options": {"test_file": "other.csv"}}, {"target": place}):
        given = {"name": "arrays", "root": str(tmp_path), **further}
        given["options"] = {"file": "train.csv", **options, **further.get("options", {})}
        dataset = load_dataset(DataConfig.model_validate(given))
        assert dataset.images[-2:, :, 0, 0].tolist() == [[50, 200], [51, 201]], further
        assert dataset.columns == ("f1", "f2")
