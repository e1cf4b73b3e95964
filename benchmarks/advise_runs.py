"""Learning curves of runs of `supercm_ray.train` for `benchmarks/advise.py`, in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advise_tasks import FEW, MANY, Curve

from supercm_ray import train
from supercm_ray.config import Config, Study
from supercm_ray.records import StudyFolder

_OFFICE = {"name": "arrays", "options": {"input_key": "fts", "label_key": "labels", "first_label": 1}}
RUNS: Mapping[str, tuple[str, str]] = {
    "digits/supercm": ("", "supervised"),
    "digits/supercm vat": ("", "vat"),
    "googlenet_amazon/supercm": ("GoogleNet1024_amazon.mat", "supervised"),
    "surf_caltech10/supercm": ("surf_caltech10.mat", "supervised"),
}
"""File of features, of the digits none, and algorithm of each task."""


def curve(task: str, fitted_seeds: range, true_seeds: range) -> Curve:
    """Measures a task: few labels with all seeds, and many with those of the truth."""
    found: Curve = {}
    for ratio in (*FEW, *MANY):
        for seed in (*(fitted_seeds if ratio in FEW else ()), *true_seeds):
            count, accuracy = _run(_config(*RUNS[task], ratio, seed))
            found.setdefault(count, {})[seed] = accuracy
    return found


def _config(file: str, algorithm: str, ratio: float, seed: int) -> Config:
    """Returns the configuration of a run; the lowest ratios of small data sets have a label of each class."""
    data: dict[str, Any] = {"name": "digits", "shift_pixels": 0}
    if file:
        folder = Path(os.environ["SUPERCM_DATA"]) / "OfficeCaltech10" / "features"
        options = {**_OFFICE["options"], "file": file}
        data = {"name": "arrays", "root": str(folder), "options": options}
        ratio = max(ratio, 0.02 + ratio / 5)
    return Config.model_validate(
        {
            "seed": seed,
            "data": {**data, "label_ratio": ratio, "labeled_in_unlabeled": True, "test_fraction": 1 / 3},
            "model": {"name": "mlp", "options": {"channels": [64]}},
            "algorithm": {"name": algorithm, "balance_alpha": 1.03, "centroid_rule": "ema"},
            "training": {
                "num_epochs": 5,
                "steps_per_epoch": 60,
                "learning_rate": 3e-3,
                "device": "cpu",
                "num_threads": 1,
            },
        },
        strict=False,
    )


def _run(config: Config) -> tuple[int, float]:
    """Returns the number of labels that a run was trained on and its test accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(name="run", base=config, tracking=("none",))
        done = train(study, results=Path(folder), evaluate_test=True, executor="in-process")
        (path,) = Path(folder, "train").iterdir()
        (record,) = StudyFolder.existing(path).runs("train")
    return record.num_labeled, round(done.metrics["test/accuracy"], 5)
