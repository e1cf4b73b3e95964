"""benchmarks/advise.py measures tasks, finds the truth and counts how often it lies in the interval."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from advise import answers, crossing, main, summary
from advise_tasks import DATA, DEVELOPMENT, FEW, MANY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COUNTS = [round(2000 * part) for part in (*FEW, *MANY)]


def a_curve(exponent: float) -> dict[int, dict[int, float]]:
    return {
        count: {seed: 1 - 0.9 * count**-exponent + 0.002 * (seed % 3) for seed in (*range(12), *range(100, 108))}
        for count in COUNTS
    }


def test_the_truth_is_where_means_cross_the_target() -> None:
    assert crossing([10, 100, 1000], [0.4, 0.3, 0.1], 0.1) == pytest.approx(1000)
    assert crossing([10, 100, 1000], [0.4, 0.3, 0.1], 0.2) == pytest.approx(100 * math.sqrt(10))
    assert crossing([10, 100, 1000], [0.4, 0.2, 0.2], 0.2) == pytest.approx(100), "the first of a plateau"
    assert crossing([10, 100, 1000], [0.4, 0.1, 0.3], 0.3) < 100, "means that rise are made monotone"


def test_answers_are_counted_by_data_set() -> None:
    found = summary({"mnist/one": a_curve(0.4), "usps/two": a_curve(0.3), "digits/three": a_curve(0.5)})
    assert found["development"]["all labels"]["num_tasks"] == 1
    held_out = found["held_out"]["all labels"]
    assert (held_out["num_tasks"], held_out["num_all_repetitions"]) == (2, 8)
    assert held_out["covered"] == sum(
        one["covered"]
        for one in found["answers"]
        if one["task"] in ("usps/two", "digits/three") and one["target"] == "all labels" and one["repetition"] == 0
    )
    json.dumps(found, allow_nan=False)
    assert sum(fifth["num"] for fifth in found["held_out_chances"]) == 2 * 6 * 5
    last = found["held_out_chances"][-1]
    assert last["said"] >= 0.8
    assert last["seen"] == 1, "plain curves reach what they are said to reach"


def test_an_interval_that_misses_is_counted_as_missed() -> None:
    kinked = a_curve(0.4) | {count: dict.fromkeys(range(100, 108), 0.999 - 1e-6 * count) for count in COUNTS[5:]}
    assert [one["covered"] for one in answers("usps/kinked", kinked)] == [False] * 8


def test_development_and_held_out_tasks_share_no_images() -> None:
    held_out = DATA.keys() - set(DEVELOPMENT)
    assert held_out == {"fashion_mnist", "usps", "digits", "surf_caltech10"}
    images = {name.rpartition("_")[2] for name in DEVELOPMENT}
    assert not images & {name.rpartition("_")[2] for name in held_out - {"fashion_mnist"}}


def test_the_readme_says_what_was_counted() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "advise.json").read_text(encoding="utf-8"))
    ours = found["held_out"]["all labels"]
    bounded = round(ours["bounded_above"] * ours["num_tasks"])
    said = f"in {ours['covered']} of {ours['num_tasks']} held-out tasks, {bounded} of them with an upper bound"
    assert said in README
    chance = 100 * found["held_out_chances"][-1]["seen"]
    assert f"with 80 % or more that a number of labels suffices, it did in {chance:.1f} % of" in README
    again = summary(
        {
            name: {int(n): {int(s): x for s, x in ones.items()} for n, ones in curve.items()}
            for name, curve in found["curves"].items()
        }
    )
    assert again["held_out"]["all labels"]["covered"] == ours["covered"]


def test_a_task_is_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "digits/neighbours", "--out", str(tmp_path / "advise.json")]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    result = json.loads((tmp_path / "advise.json").read_text(encoding="utf-8"))
    assert first.items() <= result.items()
    assert {"command", "commit", "hardware", "versions", "seeds", "load", "answers", "curves"} <= result.keys()
    assert result["held_out"]["all labels"]["num_tasks"] == 1
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first
    assert main([words[0], "digits/bayes", *words[2:]]) == 0
    both = json.loads((tmp_path / "advise.json").read_text(encoding="utf-8"))
    assert [*both["curves"]] == ["digits/neighbours", "digits/bayes"]
    assert both["held_out"]["all labels"]["num_tasks"] == 2
