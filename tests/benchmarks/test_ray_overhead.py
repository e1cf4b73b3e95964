"""benchmarks/ray_overhead.py runs, and its figures are those of the epochs that were taken by turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(result: dict[str, object]) -> None:
    pairs = result["pairs"]
    assert isinstance(pairs, list)
    ratios = [ratio for pair in pairs for ratio in pair["ratios"]]
    assert result["ratio_steps_per_s"] == pytest.approx(statistics.median(ratios))
    assert {"command", "commit", "hardware", "versions", "settings"} <= result.keys()
    for pair in pairs:
        assert pair["torchrun"]["val_accuracy"] == pair["ray"]["val_accuracy"]  # the same run


@pytest.mark.slow
def test_the_benchmark_of_rays_cost(tmp_path: Path) -> None:
    out = tmp_path / "ray_overhead.json"
    command = [sys.executable, ROOT / "benchmarks" / "ray_overhead.py", "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=280)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(out.read_text(encoding="utf-8"))
    check(result)
    (pair,) = result["pairs"]
    assert len(pair["ratios"]) == 3
