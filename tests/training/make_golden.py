"""Writes golden_digits.json, the losses of the first 50 steps on digits, which test_golden.py compares with.

Run `python tests/training/make_golden.py` after a change that is meant to change training, and say so in CHANGELOG.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from supercm_ray.config import AlgorithmConfig, Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import DeviceData, draw_batch, epoch_indices, load_dataset, make_splits
from supercm_ray.training import TrainState, train_step

GOLDEN = Path(__file__).with_name("golden_digits.json")
NUM_STEPS = 50
CONFIGS = {
    "published": AlgorithmConfig(clustering_weight=0.2),
    "all_options": AlgorithmConfig(
        clustering_weight=1.0,
        temperature=0.7,
        balance_alpha=1.03,
        clustering_warmup_steps=20,
        centroid_rule="ema",
        centroid_source="batch",
    ),
}


def losses(algorithm: AlgorithmConfig) -> dict[str, list[float]]:
    """Each term of each step."""
    config = Config(
        seed=1,
        data=DataConfig(label_ratio=0.02),
        model=ModelConfig(options={"channels": (8, 16, 16)}),
        algorithm=algorithm,
        training=TrainingConfig(device="cpu", labeled_batch_size=20, unlabeled_batch_size=20),
    )
    dataset, cpu = load_dataset(DataConfig(label_ratio=0.1)), torch.device("cpu")
    data = DeviceData.of(dataset, make_splits(dataset.labels, config.data, config.seed), cpu)
    state = TrainState.create(config, dataset, cpu)
    indices = [epoch_indices(part, NUM_STEPS, 20, state.generator) for part in (data.labeled, data.unlabeled)]
    terms = [train_step(state, draw_batch(data, *pair, config, state.generator)) for pair in zip(*indices, strict=True)]
    return {name: [step[name].item() for step in terms] for name in terms[0]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {name: losses(algorithm) for name, algorithm in CONFIGS.items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
