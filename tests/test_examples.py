"""SuperCM in a user's own TorchTrainer loop: few changed lines, and it pays."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    environment = {**kept, "HOME": str(home), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, path], env=environment, cwd=home, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_loop_runs_on_two_workers_and_gains(tmp_path: Path) -> None:
    """By 8 points in one process; the margin is for rounding."""
    assert accuracy(AFTER, tmp_path) > accuracy(BEFORE, tmp_path) + 0.03
