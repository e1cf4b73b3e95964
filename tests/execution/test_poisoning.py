"""Labels that nobody may know change nothing but the metrics that are made from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supercm_ray import tune
from supercm_ray.config import DataConfig, Study
from supercm_ray.data import DATASETS, Dataset, load_dataset
from supercm_ray.records import StudyFolder

pytestmark = pytest.mark.filterwarnings("ignore")

SSL = {"data": {"name": "known", "labels_per_class": 2, "num_val": 180}, "algorithm": {"name": "pseudo_label"}}
UDA = {"data": {"name": "digits_even", "target": {"name": "known"}}, "algorithm": {"name": "dann"}}


def study(base: dict[str, Any], metric: str) -> Study:
    """Of seconds, in which trials are proposed by what was found and stopped early."""
    training = {"num_epochs": 3, "steps_per_epoch": 4, "learning_rate": 1e-2, "device": "cpu"}
    tree = {
        "name": "poisoned",
        "base": {"model": {"options": {"channels": [4, 8]}}, "training": training, **base},
        "space": {
            "algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True},
            "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        },
        "objective": {"metric": metric, "direction": "maximize"},
        "budget": {"num_trials": 6, "max_concurrent_trials": 1},
        "sampler": {"name": "tpe", "options": {"num_startup_trials": 2}},
        "scheduler": {"name": "asha", "options": {"grace_period": 1, "reduction_factor": 2}},
        "num_seeds": 2,
    }
    return Study.model_validate_json(json.dumps(tree))


def with_own_test(labels: str) -> Dataset:
    """Digits with the last quarter as their own test rows, whose labels are true or garbage."""
    digits = load_dataset(DataConfig(label_ratio=0.1))
    test = np.arange(1347, 1797)
    known = digits.labels.copy()
    known[test] = known[test] if labels == "true" else garbage(known[test])
    return replace(digits, labels=known, test_indices=test)


def a_target(labels: str) -> Dataset:
    """The blurred half of digits, its labels true or garbage."""
    half = load_dataset(DataConfig(name="digits_odd_blurred", label_ratio=0.1))
    return half if labels == "true" else replace(half, labels=garbage(half.labels))


def garbage(labels: np.ndarray) -> np.ndarray:
    """Labels with no relation to the true ones."""
    return np.random.default_rng(0).integers(0, 10, len(labels))


def what_was_done(folder: StudyFolder) -> list[Any]:
    """Every run with its overrides, its end and all metrics that may be known."""
    unknown = ("oracle/", "test/", "epoch_seconds", "timestamp_ms", "system/")
    return [
        (
            record.key,
            record.overrides,
            record.status,
            [{k: v for k, v in m.items() if not k.startswith(unknown)} for m in folder.run(record.key).history()],
        )
        for record in folder.runs()
    ]


@pytest.fixture
def known() -> Iterator[None]:
    """Takes the name of a data set away after the test."""
    yield
    DATASETS.remove("known")


@pytest.mark.parametrize(
    ("base", "metric", "make"),
    [(SSL, "val/accuracy", with_own_test), (UDA, "target/information_maximisation", a_target)],
    ids=["test labels", "target labels"],
)
def test_garbage_changes_test_and_oracle_metrics_alone(
    base: dict[str, Any],
    metric: str,
    make: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_mlflow: Path,
    known: None,
) -> None:
    shutil.copy(empty_mlflow, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    results = {}
    for labels in ("true", "garbage"):
        DATASETS.add("known", lambda place, options, labels=labels: make(labels))
        results[labels] = tune(study(base, metric), executor="in-process", results=tmp_path / labels, plots=False)
    done = {labels: what_was_done(result.folder) for labels, result in results.items()}
    assert len(done["true"]) == 6 + 2
    assert {status for _, _, status, _ in done["true"]} == {"complete", "pruned"}
    assert done["true"] == done["garbage"]
    (true,), (poisoned,) = results["true"].rows, results["garbage"].rows
    assert true.overrides == poisoned.overrides
    assert true.val_accuracy == poisoned.val_accuracy
    assert true.test_accuracy != poisoned.test_accuracy
