"""benchmarks/label_choice.py runs and says what it is to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from label_choice import ARMS, compared, origin, splits_of, verdicts

from supercm_ray.data import Dataset

ROOT = Path(__file__).parents[2]


def test_all_arms_have_the_same_samples_and_number_of_labels(digits: Dataset) -> None:
    found = {arm: splits_of(digits, {"name": "digits"}, 2, arm, 3)[1] for arm in ARMS}
    for splits in found.values():
        assert len(splits.labeled) == 20
        assert np.array_equal(splits.training, found["random"].training)
        assert np.array_equal(splits.test, found["random"].test)
    assert len({splits.labeled.tobytes() for splits in found.values()}) == 4


def test_differences_are_those_of_a_choice_to_random_samples() -> None:
    by_seed = {
        arm: {seed: 0.5 + 0.1 * i + 0.01 * (seed % 3) * (i > 1) for seed in range(9)} for i, arm in enumerate(ARMS)
    }
    row = {"data": "usps", "labels_per_class": 1, "measure": "nearest", "by_seed": by_seed}
    tests = compared([row, {**row, "measure": "classes"}])
    assert [(one["choice"], one["than"]) for one in tests] == [
        *(("typical", other) for other in ("random", "plain_random")),
        *(("coverage", other) for other in ("random", "plain_random")),
    ]
    assert tests[0]["mean"] == pytest.approx(0.21)
    assert all(one["verdict"] == "above" for one in tests)
    assert verdicts(tests)["typical than random, 1 a class, fresh data"] == {"above": 1, "not shown": 0, "below": 0}


def test_the_origin_can_be_repeated() -> None:
    assert {"command", "commit", "hardware", "versions", "seeds", "load_average"} <= origin(range(2), 0.5).keys()


@pytest.mark.slow
def test_the_benchmark_of_choices(tmp_path: Path) -> None:
    out = tmp_path / "choice.json"
    words = ["--data", "digits", "--seeds", "2", "--supercm", "2", "--epochs", "1", "--out", out]
    command = [sys.executable, ROOT / "benchmarks" / "label_choice.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=240)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads(out.read_text(encoding="utf-8"))
    assert {row["measure"] for row in result["rows"]} >= {"nearest", "logistic", "spreading", "classes", "supercm"}
    assert result["left_out"] == []
