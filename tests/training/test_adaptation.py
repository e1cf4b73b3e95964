"""What the module adds on real features of two domains, with labels of the target hidden from all but the oracle."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from supercm_ray.config import Config, load_study
from supercm_ray.data import Dataset, DeviceData, Splits, load_dataset, split_dataset
from supercm_ray.training import TrainState, evaluate, fit

ROOT = Path(os.environ.get("SUPERCM_DATA", "/nowhere"))
FILE = "OfficeCaltech10/features/GoogleNet1024_{}.mat"
PRESET = Path(__file__).parents[2] / "search_spaces" / "office_features.yaml"


def accuracy(config: Config, dataset: Dataset, splits: Splits, labels: np.ndarray) -> float:
    """On held-out samples of the target, by their true labels, which training never had."""
    cpu = torch.device("cpu")
    state, data = TrainState.create(config, dataset, cpu), DeviceData.of(dataset, splits, cpu)
    list(fit(state, data))
    predictions = evaluate(state.ema_model, data, data.test).predictions.numpy()
    return float((predictions == labels[splits.test]).mean())


@pytest.mark.slow
@pytest.mark.skipif(not ROOT.joinpath(FILE.format("amazon")).exists(), reason="SUPERCM_DATA has no OfficeCaltech10")
@pytest.mark.parametrize(("target", "gain"), [("webcam", 0.06), ("dslr", 0.02)])
def test_source_only_gains_on_the_target(target: str, gain: float) -> None:
    """At a clustering weight of 1, three seeds. Small experiments gave 9 and 3 points over a source only that never
    sees the target, and up to 15 over one whose BatchNorm does.
    """
    base = load_study(PRESET, [f"data.target.options.file={FILE.format(target)}"]).base
    dataset = load_dataset(base.data)
    assert dataset.target_indices is not None
    hidden = dataset.labels.copy()
    hidden[dataset.target_indices] = 0
    blind = Dataset(**{**vars(dataset), "labels": hidden})
    means = []
    for weight in (0.0, 1.0):
        configs = [base.replace({"seed": seed, "algorithm.clustering_weight": weight}) for seed in (1, 2, 3)]
        means.append(
            statistics.mean(accuracy(one, blind, split_dataset(blind, one), dataset.labels) for one in configs)
        )
    assert means[1] - means[0] >= gain, means
