"""benchmarks/step.py runs and says what it is to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_of_a_step(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    command = [sys.executable, ROOT / "benchmarks" / "step.py", "--quick", "--device=cpu", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=240)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(out.read_text(encoding="utf-8"))
    for name in ("reference_s", "ours_fp32_s", "ours_auto_s"):
        assert result[name] > 0
    for name in ("fp32", "auto"):
        assert result[f"ratio_{name}"] == pytest.approx(result["reference_s"] / result[f"ours_{name}_s"])
    assert {"command", "commit", "hardware", "versions", "seeds", "table", "settings", "auto_is"} <= result.keys()
    losses = {line["name"]: line["first_loss"] for line in result["table"]}
    assert losses["class sums at once, average at once, fused Adam"] == pytest.approx(losses["reference"], rel=0.01)
