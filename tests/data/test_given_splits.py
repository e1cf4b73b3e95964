"""Splits that a file gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import Config, DataConfig
from supercm_ray.data import UNLABELED, Dataset, split_dataset
from supercm_ray.errors import StudyError

LABELS = np.append(np.arange(60) % 3, np.full(20, UNLABELED))
DATASET = Dataset(
    "arrays",
    np.zeros((80, 2, 1, 1), np.float32),
    LABELS,
    ("a", "b", "c"),
    (0.0,),
    (1.0,),
    sample_names=tuple(f"{'abc-'[label]}/{i}.png" for i, label in enumerate(LABELS)),
)
LISTS = {"labeled": [0, 1, 2, 5], "val": [6, 7, 8, 9], "test": [12, 13, 14]}


def config(path: Path, **data: object) -> Config:
    return Config(data=DataConfig(splits=str(path), num_val=6, test_fraction=0.2, **data))


def write(path: Path, lists: dict[str, list[object]]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: np.array(entries) for name, entries in lists.items()})
    elif path.suffix == ".npy":
        np.save(path, np.array(lists["labeled"]))
    elif path.suffix == ".json":
        path.write_text(json.dumps(lists))
    else:
        column = "name" if isinstance(lists["labeled"][0], str) else "index"
        rows = [f"{entry},{name}" for name, entries in lists.items() for entry in entries]
        path.write_text("\n".join([f"{column},split", *rows]))
    return path


@pytest.mark.parametrize("suffix", [".npz", ".json", ".csv"])
@pytest.mark.parametrize("by", ["index", "path", "file name"])
def test_lists_are_read_by_index_and_by_name(suffix: str, by: str, tmp_path: Path) -> None:
    named = {"index": lambda i: i, "path": lambda i: DATASET.sample_names[i], "file name": lambda i: f"{i}.png"}[by]
    lists = {name: [named(i) for i in indices] for name, indices in LISTS.items()}
    splits = split_dataset(DATASET, config(write(tmp_path / f"lists{suffix}", lists)))
    for name, indices in LISTS.items():
        assert getattr(splits, name).tolist() == indices
    assert len(splits.unlabeled) == 80 - 4 - 4 - 3


def test_a_list_of_labeled_samples_leaves_the_rest_to_the_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "lb_labels4_seed1_idx.npy", LISTS)
    chosen = config(tmp_path / "lb_labels4_seed{seed}_idx.npy").replace({"seed": 1})
    splits = split_dataset(DATASET, chosen)
    assert splits.labeled.tolist() == LISTS["labeled"]
    assert (len(splits.val), len(splits.test)) == (6, 12)
    assert len(np.unique(np.concatenate([splits.labeled, splits.unlabeled, splits.val, splits.test]))) == 80
    again = split_dataset(DATASET, config(path).replace({"seed": 7}))
    assert again.counts == splits.counts and np.array_equal(again.test, splits.test)
    with pytest.raises(StudyError, match=r"lb_labels4_seed2_idx\.npy"):
        split_dataset(DATASET, chosen.replace({"seed": 2}))


def test_splits_of_a_former_run_are_the_same(tmp_path: Path) -> None:
    former = split_dataset(DATASET, Config(data=DataConfig(labels_per_class=2)))
    former.save(tmp_path / "splits.npz")
    again = split_dataset(DATASET, config(tmp_path / "splits.npz"))
    for name in ("labeled", "unlabeled", "val", "test"):
        assert np.array_equal(getattr(former, name), getattr(again, name))


@pytest.mark.parametrize(
    ("lists", "data", "words"),
    [
        ({**LISTS, "val": [0, 7, 8]}, {}, "labeled and val samples must be different .* got 1 in both, the first is 0"),
        ({**LISTS, "unlabeled": [0, 20]}, {}, "labeled and unlabeled .*labeled_in_unlabeled=true"),
        ({**LISTS, "test": [80]}, {}, "from 0 to 79 for test .* got 80"),
        ({**LISTS, "val": [6, 7, 70]}, {}, "every val sample must have a label .* got 1 without, the first is 70"),
        ({**LISTS, "labeled": [0, 1, 1]}, {}, "listed once .* got 1 twice"),
        ({**LISTS, "train": [1]}, {}, "got 'train'; known here"),
        ({**LISTS, "labeled": ["0.png", "90.png"]}, {}, "1 names must be those of samples .* '90.png'"),
        ({**LISTS, "labeled": [0.5]}, {}, "indices or names"),
        ({**LISTS, "labeled": [[0, 1, 2, 5]]}, {}, "listed in a row .* lists within the list"),
        ({**LISTS, "labeled": [{"name": "0.png"}]}, {}, "listed in a row"),
        ({"labeled": LISTS["labeled"], "unlabeled": list(range(6, 60))}, {}, "or list `val` in data.splits"),
        ({**LISTS, "labeled": [0, 1]}, {}, "every class must have a labeled sample in data.splits"),
        (LISTS, {"label_ratio": 0.5}, "must be omitted where data.splits"),
        (LISTS, {"label_ratio": 0.5, "label_choice": "typical"}, "omit them and data.label_choice=typical, or omit"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(
    lists: dict[str, list[object]], data: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=words):
        split_dataset(DATASET, config(write(tmp_path / "lists.json", lists), **data))


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", "{"), ("a.json", '{"val": 3}'), ("a.npz", "x"), ("a.csv", "a,b"), ("a.txt", "1")]
)
def test_files_that_cannot_be_read_are_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StudyError, match=rf"`data\.splits` must .*{name}"):
        split_dataset(DATASET, config(tmp_path / name))


def test_listed_unlabeled_samples_stay_unlabeled(tmp_path: Path) -> None:
    lists = {"labeled": [0, 1, 2], "unlabeled": list(range(12, 42))}
    splits = split_dataset(DATASET, config(write(tmp_path / "lists.json", lists)))
    assert splits.unlabeled.tolist() == lists["unlabeled"]
    assert (len(splits.val), len(splits.test)) == (6, 12)


def test_a_listed_test_leaves_out_others_of_its_own(tmp_path: Path) -> None:
    chosen = config(write(tmp_path / "lists.json", {"test": [30, 31, 32]}))
    for more in ({}, {"target_indices": np.arange(24, 80)}):
        tested = dataclasses.replace(DATASET, test_indices=np.arange(30, 60), **more)
        splits = split_dataset(tested, chosen)
        assert splits.test.tolist() == [30, 31, 32]
        used = np.concatenate([splits.labeled, splits.unlabeled, splits.val])
        assert not np.isin(used, tested.test_indices).any()
    listed = config(write(tmp_path / "lists.json", {"labeled": [0, 1, 2], "unlabeled": [29, 30]}))
    with pytest.raises(StudyError, match=r"unlabeled samples must not be among its own test samples .* first is 30"):
        split_dataset(dataclasses.replace(DATASET, test_indices=np.arange(30, 60)), listed)


def test_training_samples_are_not_the_data_set_s_own_test(tmp_path: Path) -> None:
    path = write(tmp_path / "labeled.npy", LISTS)
    tested = dataclasses.replace(DATASET, test_indices=np.arange(5, 30))
    with pytest.raises(StudyError, match=r"labeled samples must not be among its own test samples .* got 1 of arrays"):
        split_dataset(tested, config(path))
    domains = dataclasses.replace(DATASET, target_indices=np.arange(1, 80))
    with pytest.raises(StudyError, match="must not be among the samples of the target"):
        split_dataset(domains, config(path))
