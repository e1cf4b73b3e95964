"""Samples that are chosen for labeling by their inputs, whatever their labels are."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from sources import checked, config, metrics, noise, save, stopped
from studies import Place
from threadpoolctl import threadpool_info, threadpool_limits

from supercm_ray.config import Config, DataConfig, PlaceConfig
from supercm_ray.data import UNLABELED, Dataset, Splits, choice_notes, choose_labeled, load_dataset, split_dataset
from supercm_ray.data import label_choice as module
from supercm_ray.errors import StudyError

RULES = ["typical", "coverage"]
SEARCHED = """\
base:
  data: {name: digits, labels_per_class: 1, label_choice: random}
  model: {options: {channels: [4, 8]}}
  training: {num_epochs: 1, steps_per_epoch: 2, labeled_batch_size: 8, unlabeled_batch_size: 8, device: cpu}
space: {data.label_choice: {type: categorical, choices: [random, typical]}}
enqueued_trials: [{data.label_choice: random}, {data.label_choice: typical}]
budget: {num_trials: 2}
scheduler: {name: none}
num_seeds: 1
tracking: none
"""


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> str:
    module._remembered.clear()
    return str(request.param)


def chosen(dataset: Dataset, rule: str, seed: int = 0, **data: object) -> Splits:
    data = {"labels_per_class": 1} | data if "label_ratio" not in data else data
    return split_dataset(dataset, Config(seed=seed, data=DataConfig(label_choice=rule, **data)))


def three_blobs() -> Dataset:
    """Vectors of three classes around (0, 0), (20, 0) and (0, 20), and three samples between them."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    vectors = np.array([[0, 0], [20, 0], [0, 20]])[labels] + random.normal(size=(120, 2))
    vectors = np.concatenate([vectors, [[10, 10], [7, 0], [0, 7]]]).astype(np.float32)
    return Dataset("blobs", vectors[:, :, None, None], np.append(labels, [0, 1, 2]), ("a", "b", "c"), (0.0,), (1.0,))


def test_the_default_is_random(digits: Dataset) -> None:
    assert DataConfig().label_choice == "random"
    plain = split_dataset(digits, Config(data=DataConfig(labels_per_class=2)))
    assert np.array_equal(chosen(digits, "random", labels_per_class=2).labeled, plain.labeled)


def test_only_the_labeled_samples_are_others(digits: Dataset, rule: str) -> None:
    plain, found = chosen(digits, "random"), chosen(digits, rule)
    assert np.array_equal(found.val, plain.val)
    assert np.array_equal(found.test, plain.test)
    assert np.array_equal(found.training, plain.training)
    assert not np.array_equal(found.labeled, plain.labeled)
    assert (np.diff(found.labeled) > 0).all()


def test_labels_decide_nothing(digits: Dataset, rule: str) -> None:
    train, val, test = np.split(np.random.default_rng(1).permutation(len(digits.labels)), [1200, 1500])
    dataset = dataclasses.replace(digits, val_indices=np.sort(val), test_indices=np.sort(test))
    labels = digits.labels.copy()
    labels[train] = np.random.default_rng(2).permutation(labels[train])
    for data in ({"labels_per_class": 3}, {"label_ratio": 0.05}):
        found = chosen(dataset, rule, **data).labeled
        module._remembered.clear()
        assert np.array_equal(chosen(dataclasses.replace(dataset, labels=labels), rule, **data).labeled, found)


def test_only_known_labels_can_be_had(digits: Dataset, rule: str) -> None:
    labels = digits.labels.copy()
    labels[::2] = UNLABELED
    found = chosen(dataclasses.replace(digits, labels=labels), rule, labels_per_class=10).labeled
    assert len(found) == 100
    assert (labels[found] != UNLABELED).all()


@pytest.mark.parametrize("count", [1, 4])
def test_labels_per_class_counts_those_of_all_classes(digits: Dataset, rule: str, count: int) -> None:
    assert len(chosen(digits, rule, labels_per_class=count).labeled) == 10 * count


def test_label_ratio_counts_training_samples(digits: Dataset, rule: str) -> None:
    found = chosen(digits, rule, label_ratio=0.1)
    assert len(found.labeled) == round(0.1 * len(found.training))


def test_more_labels_contain_fewer(digits: Dataset, rule: str) -> None:
    data: list[dict[str, object]] = [{"labels_per_class": n} for n in (1, 2, 3, 5)]
    data += [{"label_ratio": ratio} for ratio in (0.07, 0.2, 0.79, 0.9)]
    drawn = [set(chosen(digits, rule, 3, **one).labeled) for one in data]
    assert all(less < more for less, more in itertools.pairwise(drawn))


def test_seeds_choose_different_samples(digits: Dataset, rule: str) -> None:
    assert len({chosen(digits, rule, seed).labeled.tobytes() for seed in range(4)}) == 4
    assert not np.array_equal(chosen(digits, rule).labeled, chosen(digits, rule, split_seed=1).labeled)


def test_one_seed_chooses_the_same_samples(digits: Dataset, rule: str) -> None:
    first = chosen(digits, rule, labels_per_class=4).labeled
    for num_threads in (1, 2):
        module._remembered.clear()
        with threadpool_limits(num_threads):
            assert np.array_equal(chosen(digits, rule, labels_per_class=4).labeled, first)


def test_one_thread_computes_a_choice(digits: Dataset, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of several threads depend on which comes first."""

    def order(features: np.ndarray, num_labels: int, *_: object) -> np.ndarray:
        assert {library["num_threads"] for library in threadpool_info()} == {1}
        return np.arange(num_labels)

    monkeypatch.setattr(module, "_RULES", {rule: module._Rule(order, 100)})
    with threadpool_limits(2):
        chosen(digits, rule)


def test_a_choice_is_made_once(digits: Dataset, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(digits, rule).labeled
    first[:] = 0
    monkeypatch.setattr(
        module, "_RULES", {rule: module._RULES[rule]._replace(order=lambda *_: pytest.fail("chose again"))}
    )
    assert chosen(digits, rule).labeled.any()


def test_a_choice_of_other_inputs_is_another(digits: Dataset, rule: str) -> None:
    images = np.random.default_rng(0).permutation(digits.images)
    other = dataclasses.replace(digits, images=images)
    assert not np.array_equal(chosen(other, rule).labeled, chosen(digits, rule).labeled)


@pytest.mark.parametrize("seed", range(4))
def test_each_cluster_gets_a_label_and_outliers_none(rule: str, seed: int) -> None:
    blobs = three_blobs()
    found = chosen(blobs, rule, seed, test_fraction=0.2).labeled
    assert sorted(blobs.labels[found]) == [0, 1, 2]
    assert found.max() < 120


def test_features_count_by_their_spread(rule: str) -> None:
    """Standardised as for training: the unit of a feature does not decide which samples are alike."""
    blobs = three_blobs()
    scaled = dataclasses.replace(blobs, images=blobs.images * np.array([1, 1e4], np.float32)[:, None, None])
    assert np.array_equal(chosen(scaled, rule).labeled, chosen(blobs, rule).labeled)
    off = chosen(scaled, rule, labels_per_class=4, standardise="off").labeled
    assert not np.array_equal(off, chosen(blobs, rule, labels_per_class=4).labeled)


@pytest.mark.parametrize("images", [np.full((90, 3, 1, 1), 7, np.float32), np.zeros((90, 1, 8, 8), np.uint8)])
def test_identical_samples_can_be_chosen(images: np.ndarray, rule: str) -> None:
    dataset = Dataset("same", images, np.arange(90) % 3, ("a", "b", "c"), (0.5,), (0.5,))
    drawn = [set(chosen(dataset, rule, labels_per_class=n).labeled) for n in (1, 2, 7)]
    assert [len(one) for one in drawn] == [3, 6, 21]
    assert drawn[0] < drawn[1] < drawn[2]


def test_of_many_samples_some_are_looked_at(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def order(features: np.ndarray, num_labels: int, *_: object) -> np.ndarray:
        seen.append(len(features))
        return np.arange(num_labels)

    monkeypatch.setattr(module, "_RULES", {rule: module._Rule(order, 100)})
    labels = np.arange(1000) % 4
    dataset = Dataset("many", np.zeros((1000, 2, 1, 1), np.float32), labels, tuple("abcd"), (0.0,), (1.0,))
    assert len(chosen(dataset, rule, labels_per_class=50).labeled) == 200
    assert seen == [100]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"labels_per_class": 50}, r"from 1 to 80, .*got 150 with labels_per_class=50; lower it"),
        ({"label_ratio": 0.001}, r"from 1 to 80, .*got 0 with label_ratio=0.001; raise it"),
    ],
)
def test_a_number_of_labels_that_cannot_be_had_is_an_error(rule: str, data: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        chosen(three_blobs(), rule, **data)


def test_samples_of_the_source_are_chosen(rule: str) -> None:
    data = {"name": "digits_even", "target": PlaceConfig(name="digits_odd_blurred"), "labels_per_class": 2}
    pair = load_dataset(DataConfig(**data))
    found = chosen(pair, rule, **data)
    assert len(found.labeled) == 20
    assert not np.isin(found.labeled, pair.target_indices).any()
    blind = pair.labels.copy()
    blind[pair.target_indices] = UNLABELED
    blind = chosen(dataclasses.replace(pair, labels=blind), rule, **data, test_fraction=0).labeled
    assert np.array_equal(blind, found.labeled)


def test_streamed_images_are_refused_with_a_remedy(tmp_path: Path) -> None:
    for i, name in itertools.product(range(12), ("cat", "dog")):
        save(noise(8, 8, seed=i + 50 * (name == "dog")), tmp_path / name / f"{i}.png")
    options = {"image_size": 8, "stream": "on"}
    data = {"name": "image_folder", "root": str(tmp_path), "options": options, "labels_per_class": 1}
    message = stopped(config({**data, "label_choice": "typical"}))
    assert "in memory for data.label_choice=typical" in message
    assert "`supercm-ray embed`" in message


def test_classes_without_a_label_are_told(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.concatenate([np.zeros(200, np.int64), np.ones(5, np.int64)])
    vectors = np.random.default_rng(0).normal(size=(205, 4, 1, 1)).astype(np.float32)
    dataset = Dataset("rare", vectors, labels, ("often", "seldom"), (0.0,), (1.0,))
    data = DataConfig(labels_per_class=1, label_choice="typical")
    splits = split_dataset(dataset, Config(data=data))
    assert set(labels[splits.labeled]) == {0}
    (note,) = choice_notes(dataset, splits, data)
    assert note.startswith("1 of 2 classes have no sample that data.label_choice=typical labels")
    assert note.endswith("the first is seldom with the seed of the base")
    assert choice_notes(dataset, splits, DataConfig(labels_per_class=1)) == ()
    with caplog.at_level(logging.WARNING):
        found, _ = checked(config({"name": "digits", "labels_per_class": 1, "label_choice": "typical"}))
    assert any(one.startswith("1 of 10 classes have no sample") for one in found.notes)


@pytest.mark.parametrize("algorithm", ["supervised", "mean_teacher", "pseudo_label"])
def test_training_learns_with_classes_without_a_label(algorithm: str) -> None:
    data = {"name": "digits", "labels_per_class": 1, "label_choice": "typical", "noise_std": 0.1}
    found = metrics(config(data, **{"algorithm.name": algorithm}))
    assert np.isfinite(found["train/loss"])
    assert found["test/accuracy"] > 0.4


@pytest.mark.parametrize(
    "algorithm",
    ["nearest_centroid", "nearest_neighbor", "logistic_regression", "label_propagation", "gaussian_mixture"],
)
def test_what_is_fitted_at_once_takes_classes_without_a_label(algorithm: str) -> None:
    leaves = {"algorithm.name": algorithm, "algorithm.clustering_weight": 0.0, "model.frozen": True}
    data = {"name": "digits", "labels_per_class": 1, "label_choice": "typical"}
    assert checked(config(data))[0].notes
    found = metrics(config(data, **leaves, **{"training.num_epochs": 1}))
    assert found["test/accuracy"] > 0.2


@pytest.mark.filterwarnings("ignore")
def test_the_choice_can_be_searched(place: Place) -> None:
    (place.path / "tiny.yaml").write_text(SEARCHED, encoding="utf-8")
    place.tune_here()
    folder = place.folder
    records = [view.record for view in folder.views() if view.record.key.startswith("trials/")]
    labeled = {str(r.overrides["data.label_choice"]): Splits.load(folder.run(r.key).splits).labeled for r in records}
    assert set(labeled) == {"random", "typical"}
    assert len(labeled["random"]) == len(labeled["typical"])
    assert not np.array_equal(labeled["random"], labeled["typical"])


def test_samples_that_nobody_labeled_can_be_chosen(digits: Dataset, rule: str) -> None:
    """As an annotator does: of samples without a label, by Python alone."""
    labels = digits.labels.copy()
    labels[100:] = UNLABELED
    dataset, data = dataclasses.replace(digits, labels=labels), DataConfig(labels_per_class=2, label_choice=rule)
    found = choose_labeled(dataset, np.flatnonzero(labels == UNLABELED), data, seed=0)
    assert len(found) == 20
    assert found.min() >= 100
