"""Studies on a person's own few labels, from given lists or without a label in the target, to their end."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from supercm_ray import load_model, train, tune
from supercm_ray.config import Study
from supercm_ray.data import Splits, split_dataset
from supercm_ray.errors import InterruptedStudyError, StudyError
from supercm_ray.execution.recorder import NullCallback
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.training.preflight import load_checked

pytestmark = pytest.mark.filterwarnings("ignore")


class Interrupt(NullCallback):
    """Presses Ctrl+C after the first epoch of a finalist."""

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        if record.key.startswith("finalists") and metrics is not None:
            raise KeyboardInterrupt


def blobs(num_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng, labels = np.random.default_rng(seed), np.arange(num_samples) % 3
    return 4 * np.eye(3, 6)[labels] + rng.normal(size=(num_samples, 6)), labels


def study(root: Path, name: str, metric: str = "val/accuracy", **data: object) -> Study:
    """A study of a trial and two finalists on `train.npz`."""
    training = {"num_epochs": 2, "steps_per_epoch": 10, "labeled_batch_size": 6, "unlabeled_batch_size": 12}
    return Study.model_validate(
        {
            "name": name,
            "base": {
                "data": {"name": "arrays", "root": str(root), "options": {"file": "train.npz"}, **data},
                "model": {"name": "mlp", "options": {"channels": [8]}},
                "training": {**training, "learning_rate": 0.1, "device": "cpu"},
            },
            "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 1.0}},
            "objective": [{"metric": metric, "direction": "maximize"}],
            "budget": {"num_trials": 1},
            "baseline": {"algorithm.clustering_weight": 0.0},
            "num_seeds": 1,
            "tracking": "none",
        }
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a data set, lists of labels for two seeds, and another domain without labels."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("train", "test", "target")):
        inputs, labels = blobs(90, seed)
        known = {} if name == "target" else {"labels": labels}
        np.savez(tmp_path / f"{name}.npz", images=inputs, **known)
    for seed in (0, 1):
        np.save(tmp_path / f"lb_seed{seed}.npy", np.random.default_rng(seed).permutation(30)[:3] * 3 + [0, 1, 2])
    return tmp_path


def lists(root: Path, name: str) -> Study:
    test = {"name": "arrays", "options": {"file": "test.npz"}}
    return study(root, name, splits="lb_seed{seed}.npy", num_val=9, labeled_in_unlabeled=True, test=test)


def all_splits(folder: StudyFolder) -> dict[str, list[list[int]]]:
    """The samples of each split by the key of the run, without the numbers that tell studies apart."""
    found = {view.record.key: Splits.load(folder.run(view.record.key).splits) for view in folder.views()}
    return {
        key.rsplit("-", 1)[0]: [getattr(splits, name).tolist() for name in splits.counts]
        for key, splits in found.items()
        if key.startswith("finalists")
    }


@pytest.mark.slow
def test_given_lists_and_a_given_test_give_the_same_splits_again(root: Path) -> None:
    tune(lists(root, "whole"), results=root, executor="in-process")
    with pytest.raises(InterruptedStudyError):
        tune(lists(root, "resumed"), results=root, executor="in-process", callback=Interrupt())
    np.save(root / "lb_seed1.npy", np.load(root / "lb_seed1.npy")[::-1])  # another order is the same list
    tune(lists(root, "resumed"), results=root, executor="in-process")
    whole, resumed = (all_splits(StudyFolder.existing(root / name)) for name in ("whole", "resumed"))
    assert whole == resumed
    for labeled, unlabeled, val, test in whole.values():
        assert labeled == sorted(np.load(root / "lb_seed1.npy").tolist())
        assert test == list(range(90, 180))
        assert sorted(unlabeled + val) == list(range(90))
    np.save(root / "lb_seed0.npy", np.load(root / "lb_seed1.npy"))
    with pytest.raises(StudyError, match=r"the data must be those that .* was begun with"):
        tune(lists(root, "resumed"), results=root, executor="in-process")


def test_lists_of_every_finalist_are_read_at_the_start(root: Path) -> None:
    chosen = study(root, "apart", splits="lb_seed{seed}.npy", num_val=9)
    test = split_dataset(load_checked(chosen), chosen.base).test
    np.save(root / "lb_seed1.npy", test[:9])
    with pytest.raises(StudyError, match=r"all seeds must have the same test samples .* got others for seed 1"):
        load_checked(chosen, all_seeds=True)
    (root / "lb_seed1.npy").unlink()
    with pytest.raises(StudyError, match=r"lb_seed1\.npy.*of seed 1: finalists have the seeds up to 1"):
        tune(lists(root, "missing"), results=root, executor="in-process")


def test_a_target_without_labels_ends_in_predictions(root: Path) -> None:
    target = {"name": "arrays", "options": {"file": "target.npz"}}
    chosen = study(root, "adapted", metric="target/information_maximisation", target=target)
    tune(chosen, results=root, executor="in-process")
    folder = StudyFolder.existing(root / "adapted")
    assert folder.data_summary().counts == {"labeled": 81, "unlabeled": 90, "val": 9, "test": 0}
    said = (root / "adapted" / "report.html").read_text()
    assert "There is no test split" in said
    assert "there is no oracle" in said
    assert not any("oracle" in name for view in folder.views() for name in view.history[-1])
    found = load_model("adapted", results=root).predict(root / "target.npz")
    assert (np.asarray(found.predicted) == blobs(90, 2)[1].astype(str)).mean() > 0.8


def test_a_test_that_there_is_not_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = study(root, "one", labels_per_class=2, test_fraction=0.0)
    with caplog.at_level(logging.WARNING):
        metrics = train(chosen, results=root, executor="in-process", evaluate_test=True).metrics
    assert "there is no test split" in caplog.text
    assert not any(name.startswith("test/") for name in metrics)
