"""The examples: SuperCM in a user's own TorchTrainer loop, and a person's own data."""

from __future__ import annotations

import csv
import difflib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import supercm_ray

FOLDER = Path(__file__).parents[1] / "examples"
BEFORE, AFTER = FOLDER / "torch_trainer.py", FOLDER / "torch_trainer_supercm.py"


def test_fewer_than_15_lines_change() -> None:
    before, after = (path.read_text(encoding="utf-8").splitlines()[1:] for path in (BEFORE, AFTER))
    changed = [line for line in difflib.ndiff(before, after) if line.startswith("+ ") and line.strip() != "+"]
    assert 0 < len(changed) < 15
    ours = [line for line in after if "supercm_ray" in line]
    assert ours == ["from supercm_ray.core import ClusteringModule, RunningCentroids, clustering_loss"]


def accuracy(path: Path, home: Path) -> float:
    """What a run on two workers prints at its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {
        **kept,
        "HOME": str(home),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "local",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, path], env=environment, cwd=home, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.split()[-1])


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_loop_runs_on_two_workers_and_gains(tmp_path: Path) -> None:
    """By 8 points in one process; the margin is for rounding."""
    assert accuracy(AFTER, tmp_path) > accuracy(BEFORE, tmp_path) + 0.03


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_own_data_gains_and_ends_in_predictions(tmp_path: Path) -> None:
    """By 5 points with images and 12 with features in one process; the margin is for rounding."""
    own = FOLDER / "own_data"
    subprocess.run([sys.executable, own / "make_data.py", "own_data"], cwd=tmp_path, check=True)
    for name, new in (("images", "own_data/new"), ("features", "own_data/new.csv")):
        words = (str(own / f"{name}.yaml"), "--executor", "in-process")
        done = supercm_ray(tmp_path, "tune", *words, SUPERCM_TRACKING="none")
        assert done.returncode == 0, done.stderr
        rows = json.loads((tmp_path / "results" / name / "table.json").read_text())["rows"]
        means = {row["arm"]: row["test_accuracy"]["mean"] for row in rows}
        assert means["tuned"] > means["baseline"] + 0.01, name
        done = supercm_ray(tmp_path, "predict", name, new, "--output", "predictions.csv")
        assert done.returncode == 0, done.stderr
        with (tmp_path / "predictions.csv").open() as file:
            predicted = list(csv.DictReader(file))
        assert len(predicted) == 20
        classes = {path.name for path in (tmp_path / "own_data" / "labeled").iterdir()}
        assert {row["predicted"] for row in predicted} <= classes
        assert all(f"p_{one}" in predicted[0] for one in classes)
