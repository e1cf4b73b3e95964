"""Metrics of predictions, by hand and against sklearn's own functions."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from supercm_ray.data import UNLABELED, Dataset, DeviceData, load_dataset, split_dataset
from supercm_ray.training import TrainState, evaluate
from supercm_ray.training.loop import validate
from supercm_ray.training.metrics import balanced_accuracy_and_f1, calibration_error


def test_classes_without_samples_count_where_they_are_predicted() -> None:
    balanced, f1 = balanced_accuracy_and_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]))
    assert balanced == pytest.approx((2 / 3 + 0) / 2)
    assert f1 == pytest.approx((0.8 + 0 + 0) / 3)


@pytest.mark.parametrize("seed", range(8))
def test_both_are_those_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 2 + seed, 30), rng.integers(seed // 2, 4 + seed, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of predicted classes that have no sample
        expected = balanced_accuracy_score(labels, predictions), f1_score(labels, predictions, average="macro")
    assert balanced_accuracy_and_f1(labels, predictions) == pytest.approx(expected)


def test_the_calibration_error_weighs_bins_by_their_samples() -> None:
    confidence, correct = np.array([0.91, 0.93, 0.62, 1.0]), np.array([True, False, True, True])
    ninety = 2 / 4 * abs(0.5 - 0.92)
    assert calibration_error(confidence, correct) == pytest.approx(ninety + 1 / 4 * abs(1 - 0.62) + 1 / 4 * 0)
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)


def test_an_evaluation_has_them_by_the_names_of_its_split(start) -> None:
    state, data = start()
    result = evaluate(state.model, data, data.val)
    confidence = state.model.eval()(data.pixels(data.val)).assignments.detach().max(dim=1).values.double()
    correct = result.predictions == result.labels
    bins = (15 * confidence).long().clamp_max(14)
    gaps = [
        (correct[bins == b].double().mean() - confidence[bins == b].mean()).abs() * (bins == b).double().mean()
        for b in bins.unique()
    ]
    assert result.metrics("val") == {
        "val/accuracy": result.accuracy,
        "val/loss": result.loss,
        "val/balanced_accuracy": pytest.approx(balanced_accuracy_score(result.labels, result.predictions)),
        "val/f1_macro": pytest.approx(f1_score(result.labels, result.predictions, average="macro")),
        "val/ece": pytest.approx(float(sum(gaps)), rel=1e-4),
    }


@pytest.mark.parametrize("known", [0, 7])
def test_the_oracle_is_measured_on_known_labels_alone(start, tiny, known: int) -> None:
    config = tiny({"data.name": "digits_even", "data.target": {"name": "digits_odd_blurred"}})
    dataset: Dataset = load_dataset(config.data)
    splits, cpu = split_dataset(dataset, config), torch.device("cpu")
    labels = dataset.labels.copy()
    labels[splits.unlabeled[known:]] = UNLABELED
    data = DeviceData.of(replace(dataset, labels=labels), splits, cpu)
    state = TrainState.create(config, dataset, cpu)
    metrics = validate(state, data)
    assert ("oracle/accuracy" in metrics) == (known > 0)
    if known:
        assert metrics["oracle/accuracy"] == evaluate(state.ema_model, data, data.unlabeled[:known]).accuracy
