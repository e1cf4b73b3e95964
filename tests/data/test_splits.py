"""Who is labeled, unlabeled, validation and test."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import Dataset, Splits, make_splits, split_dataset
from supercm_ray.errors import StudyError

NAMES = ("labeled", "unlabeled", "val", "test")
RARE = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [400, 150, 60, 23]))
"""Labels of classes that are of very different size."""

Labels = npt.NDArray[np.int64]


@pytest.fixture(params=["digits", "rare"])
def labels(request: pytest.FixtureRequest, digits: Dataset) -> Labels:
    return digits.labels if request.param == "digits" else RARE


def parts(splits: Splits) -> list[Labels]:
    return [getattr(splits, name) for name in NAMES]


def shares_are_even(taken: Labels, pool: Labels, labels: Labels) -> bool:
    """Whether each class gave its share of `pool` to `taken`, give or take less than a sample."""
    counts, available = np.bincount(labels[taken]), np.bincount(labels[pool])
    return bool((np.abs(counts - available * len(taken) / len(pool)) < 1).all())


@pytest.mark.parametrize("data", [DataConfig(label_ratio=0.2), DataConfig(labels_per_class=3)])
@pytest.mark.parametrize("seed", [0, 7])
def test_splits_are_disjoint_sorted_and_cover_every_sample(labels: Labels, data: DataConfig, seed: int) -> None:
    together = np.concatenate(parts(make_splits(labels, data, seed)))
    assert np.array_equal(np.sort(together), np.arange(len(labels)))
    assert all((np.diff(part) > 0).all() for part in parts(make_splits(labels, data, seed)))


def test_splits_are_stratified_and_of_the_size_asked_for(labels: Labels) -> None:
    data = DataConfig(label_ratio=0.15, val_fraction=0.2, test_fraction=0.3)
    splits = make_splits(labels, data, 0)
    everything, train = np.arange(len(labels)), np.concatenate([splits.labeled, splits.unlabeled])
    assert len(splits.test) == round(0.3 * len(labels))
    assert len(splits.val) == round(0.2 * len(labels))
    assert len(splits.labeled) == round(0.15 * len(train))
    assert shares_are_even(splits.test, everything, labels)
    assert shares_are_even(splits.val, np.setdiff1d(everything, splits.test), labels)
    assert shares_are_even(splits.labeled, train, labels)


@pytest.mark.parametrize("count", [1, 4, 10])
def test_labels_per_class_counts_samples_of_each_class(labels: Labels, count: int) -> None:
    splits = make_splits(labels, DataConfig(labels_per_class=count), 0)
    assert set(np.bincount(labels[splits.labeled])) == {count}
    assert splits.label_budget == count * len(np.unique(labels)) + len(splits.val)


def test_val_and_test_samples_are_the_same_for_all_seeds_and_label_budgets(labels: Labels) -> None:
    first = make_splits(labels, DataConfig(label_ratio=0.1), 0)
    for seed, data in itertools.product(range(3), [DataConfig(label_ratio=0.4), DataConfig(labels_per_class=2)]):
        other = make_splits(labels, data, seed)
        assert np.array_equal(other.val, first.val)
        assert np.array_equal(other.test, first.test)


def test_another_split_seed_gives_other_val_and_test_samples(labels: Labels) -> None:
    first, other = (make_splits(labels, DataConfig(label_ratio=0.1, split_seed=seed), 0) for seed in (0, 1))
    assert not np.array_equal(other.val, first.val)
    assert not np.array_equal(other.test, first.test)


def test_labeled_samples_differ_by_seed(labels: Labels) -> None:
    drawn = {make_splits(labels, DataConfig(label_ratio=0.1), seed).labeled.tobytes() for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize("seed", [0, 3])
def test_more_labels_contain_fewer(labels: Labels, seed: int) -> None:
    """A class must not lose a labeled sample when the label ratio grows, at any pair of ratios."""
    train = sum(len(part) for part in parts(make_splits(labels, DataConfig(label_ratio=0.5), seed))[:2])
    totals = np.arange(round(0.05 * train), round(0.6 * train))
    drawn = [set(make_splits(labels, DataConfig(label_ratio=float(n / train)), seed).labeled) for n in totals]
    lost = [len(less) for less, more in itertools.pairwise(drawn) if not less < more]
    assert lost == []


def test_more_labels_per_class_contain_fewer(labels: Labels) -> None:
    drawn = [set(make_splits(labels, DataConfig(labels_per_class=n), 0).labeled) for n in range(1, 12)]
    assert all(less < more for less, more in itertools.pairwise(drawn))


def test_splits_are_the_same_in_every_process_and_version(digits: Dataset) -> None:
    """Stored results name samples by these splits: if this hash changes, no earlier study can be compared with."""
    splits = make_splits(digits.labels, DataConfig(label_ratio=0.1), 3)
    digest = hashlib.sha256(b"|".join(part.astype("<i8").tobytes() for part in parts(splits))).hexdigest()
    assert digest == "8d26bcc6924d148c50def71810d2cb3f9ef7db8a3bc3fb4d1b5146d8ee79bec3"


@pytest.mark.parametrize(
    ("data", "got", "name"),
    [
        (DataConfig(label_ratio=0.005), "label_ratio=0.005", "labeled"),
        (DataConfig(label_ratio=0.0001), "label_ratio=0.0001", "labeled"),
        (DataConfig(label_ratio=0.1, val_fraction=0.003), "val_fraction=0.003", "val"),
        (DataConfig(label_ratio=0.1, test_fraction=0.003), "test_fraction=0.003", "test"),
    ],
)
def test_too_few_samples_for_every_class_is_an_error(labels: Labels, data: DataConfig, got: str, name: str) -> None:
    leaf = got.partition("=")[0]
    with pytest.raises(StudyError, match=rf"{name} sample for data\.{leaf}, got {got}.* none for class \d"):
        make_splits(labels, data, 0)


def test_the_class_left_out_is_named() -> None:
    with pytest.raises(StudyError, match="none for class 3"):
        make_splits(RARE, DataConfig(label_ratio=0.02), 0)


def test_more_labels_per_class_than_the_smallest_class_has_is_an_error() -> None:
    with pytest.raises(StudyError, match=r"labels_per_class=20, with only \d+ in class 3; lower it"):
        make_splits(RARE, DataConfig(labels_per_class=20), 0)


@pytest.mark.parametrize("data", [DataConfig(labels_per_class=6), DataConfig(label_ratio=0.99)])
def test_no_unlabeled_sample_left_is_an_error(data: DataConfig) -> None:
    even = np.repeat(np.arange(3), 10)
    data = data.model_copy(update={"val_fraction": 0.2, "test_fraction": 0.2})
    dataset = Dataset("even", np.zeros((30, 2, 1, 1), np.float32), even, ("a", "b", "c"), (0.0,), (1.0,))
    with pytest.raises(StudyError, match=r"at least one unlabeled sample .*; lower it"):
        split_dataset(dataset, Config(data=data))


def test_splits_survive_saving(tmp_path: Path, digits: Dataset) -> None:
    splits = make_splits(digits.labels, DataConfig(label_ratio=0.1), 0)
    splits.save(tmp_path / "splits.npz")
    loaded = Splits.load(tmp_path / "splits.npz")
    for part, other in zip(parts(splits), parts(loaded), strict=True):
        assert np.array_equal(part, other)
        assert part.dtype == other.dtype
