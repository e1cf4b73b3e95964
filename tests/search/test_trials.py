"""What a search came to, from its records alone: objective values, the best of each group, importances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.records import RunRecord, RunView, Status
from supercm_ray.search import best_by_group, importances, objective_values


def trial(
    number: int, weight: float, ratio: float, value: float, status: Status = "complete", **more: float
) -> RunView:
    """A trial whose last epoch has this accuracy, and these metrics."""
    overrides = {"algorithm.clustering_weight": weight, "data.label_ratio": ratio}
    record = RunRecord(f"trials/{number:04d}", "trial", dict(overrides), {}, 1, status=status)
    return RunView(record, [{"epoch": 1, "val/accuracy": value, **more}])


def one_objective(small_study: Path, metric: str, direction: str) -> Study:
    """The small study with one objective and no group path."""
    text = small_study.read_text()
    start, end = text.index("objective:"), text.index("budget:")
    small_study.write_text(f"{text[:start]}objective: {{metric: {metric}, direction: {direction}}}\n{text[end:]}")
    return load_study(small_study)


def test_the_best_of_each_group_is_found_among_full_budget_trials(small_study: Path) -> None:
    trials = [
        trial(0, 1.0, 0.1, 0.7),
        trial(1, 2.0, 0.1, 0.8),
        trial(2, 3.0, 0.1, 0.8),  # as good, but later
        trial(3, 4.0, 0.05, 0.6),
        trial(4, 0.5, 0.05, 0.5),
        trial(5, 4.5, 0.05, 0.9, "failed"),
        trial(6, 4.6, 0.1, 0.9, "pruned"),
        trial(7, 4.6, 0.1, 0.9, "running"),
        trial(8, 4.6, 0.1, 0.9, "interrupted"),
    ]
    best = best_by_group(load_study(small_study), trials)
    assert {group: one.number for group, one in best.items()} == {(0.05,): 3, (0.1,): 1}
    assert list(best) == [(0.05,), (0.1,)], "groups come in order"


@pytest.mark.parametrize(
    ("metric", "direction", "number"), [("val/accuracy", "maximize", 1), ("val/loss", "minimize", 2)]
)
def test_direction_decides_what_is_best(small_study: Path, metric: str, direction: str, number: int) -> None:
    study = one_objective(small_study, metric, direction)
    values = ((1.0, 0.5), (2.0, 0.9), (3.0, 0.1), (4.0, 0.4))
    trials = [trial(i, weight, 0.1, 0.0, **{metric: value}) for i, (weight, value) in enumerate(values)]
    assert {group: one.number for group, one in best_by_group(study, trials).items()} == {(): number}


def test_a_trial_stopped_early_is_never_the_best(small_study: Path) -> None:
    study = one_objective(small_study, "val/accuracy", "maximize")
    stopped = trial(0, 1.0, 0.1, 0.99, "pruned")
    assert best_by_group(study, [stopped]) == {}
    assert best_by_group(study, [stopped, trial(1, 1.0, 0.1, 0.2)])[()].number == 1


def test_the_primary_objective_decides_wherever_it_stands(small_study: Path) -> None:
    text = small_study.read_text()
    lines = [
        "  - {metric: val/accuracy, direction: maximize}\n",
        "  - {metric: data.label_ratio, direction: minimize}\n",
    ]
    small_study.write_text(text.replace("".join(lines), "".join(reversed(lines))))
    study = load_study(small_study)
    assert study.objective[1].metric == "val/accuracy"
    assert best_by_group(study, [trial(0, 1.0, 0.1, 0.9), trial(1, 2.0, 0.1, 0.4)])[(0.1,)].number == 0


def test_objective_values_are_metrics_or_searched_values(small_study: Path) -> None:
    study = load_study(small_study)
    overrides: dict[str, Any] = {"algorithm.clustering_weight": 2.0, "data.label_ratio": 0.05}
    values = objective_values(study, overrides, {"val/accuracy": 0.75, "val/loss": 0.5, "epoch": 3.0})
    assert values == [0.75, 0.05]
    assert all(isinstance(value, float) for value in values)


def test_importances_need_enough_trials_that_differ(small_study: Path) -> None:
    study = load_study(small_study)
    few = [trial(i, 1.0 + i, 0.1, 0.1 * i) for i in range(3)]
    few += [trial(3 + i, 1.0 + i / 2, 0.1, 0.1 * i, "pruned") for i in range(6)]
    flat = [trial(i, 0.5 + i / 2, 0.1, 0.5) for i in range(6)]
    assert importances(study, few) == {}
    assert importances(study, flat) == {}


def test_importances_tell_what_mattered_for_the_primary_objective(small_study: Path) -> None:
    study = load_study(small_study)
    trials = [trial(i, 0.06 * 1.1**i, (0.05, 0.1)[i % 2], 1.0 / (1.0 + abs(i - 30))) for i in range(40)]
    shares = importances(study, trials)
    assert set(shares) == set(study.space)
    assert shares["algorithm.clustering_weight"] > 0.8 > 0.2 > shares["data.label_ratio"]
