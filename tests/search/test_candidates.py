"""Which candidates a search leads to, and which of them is chosen, from records alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.records import RunRecord, RunView, Status
from supercm_ray.search.candidates import Candidate, chosen_by_group, default_overrides, open_runs, plan_candidates
from supercm_ray.search.choices import choices

WEIGHT, RATIO = "algorithm.clustering_weight", "data.label_ratio"


@pytest.fixture
def study(small_study: Path) -> Study:
    """Two candidates of each label ratio beside the default, whose weight is 1, on two seeds."""
    return load_study(small_study, ["num_candidates=2"])


def trial(number: int, weight: float, value: float, ratio: float = 0.1, status: Status = "complete") -> RunView:
    record = RunRecord(f"trials/{number:04d}", "trial", {WEIGHT: weight, RATIO: ratio}, {}, 1, status=status)
    return RunView(record, [{"epoch": 1, "val/accuracy": value, "val/loss": -value}])


def ran(candidate: Candidate, *values: float | Status) -> dict[str, RunView]:
    """The candidate's runs with these accuracies, or with these statuses."""
    found = {}
    for run, value in zip(candidate.runs, values, strict=False):
        status: Status = value if isinstance(value, str) else "complete"
        params = {"seed": run.overrides["seed"]}
        record = RunRecord(run.key, "candidate", run.overrides, params, 1, run.labels, status=status)
        metrics = {"epoch": 3, "val/accuracy": value, "val/loss": value}
        found[run.key] = RunView(record, [] if isinstance(value, str) else [metrics])
    return found


def weights(candidates: list[Candidate]) -> list[object]:
    return [candidate.overrides[WEIGHT] for candidate in candidates]


def test_the_best_that_differ_come_first_and_the_default_always(study: Study) -> None:
    trials = [
        trial(0, 2.0, 0.7),
        trial(1, 3.0, 0.9),
        trial(2, 3.0, 0.9),
        trial(3, 4.0, 0.5),
        trial(4, 5.0, 1, 0.1, "pruned"),
    ]
    found = plan_candidates(study, trials)
    assert weights(found) == [3.0, 2.0, 1.0]
    assert [one.is_default for one in found] == [False, False, True]
    assert [one.search_value for one in found] == [0.9, 0.7, None]
    assert {run.overrides["seed"] for one in found for run in one.runs} == {1, 2}
    assert len({run.key for one in found for run in one.runs}) == 6
    assert found[-1].overrides == default_overrides(study, (0.1,)) == {WEIGHT: 1.0, RATIO: 0.1}


@pytest.mark.parametrize(("value", "order"), [(0.9, [1.0, 2.0]), (0.1, [2.0, 3.0, 1.0])])
def test_a_default_that_was_searched_is_there_once(study: Study, value: float, order: list[float]) -> None:
    found = plan_candidates(study, [trial(0, 1.0, value), trial(1, 2.0, 0.7), trial(2, 3.0, 0.6)])
    assert weights(found) == order
    (default,) = [one for one in found if one.is_default]
    assert default.search_value == value
    assert all(run.key.startswith("candidates/label_ratio=0.1-default-seed") for run in default.runs)


def test_each_group_has_candidates_of_its_own(study: Study) -> None:
    found = plan_candidates(study, [trial(0, 2.0, 0.7), trial(1, 3.0, 0.9, ratio=0.05)])
    assert [(one.group, one.overrides[WEIGHT]) for one in found] == [
        ((0.05,), 3.0),
        ((0.05,), 1.0),
        ((0.1,), 2.0),
        ((0.1,), 1.0),
    ]


def test_without_the_key_there_are_none(small_study: Path) -> None:
    assert plan_candidates(load_study(small_study), [trial(0, 2.0, 0.7)]) == []


@pytest.mark.parametrize(
    ("first", "second", "default", "chosen"),
    [
        ((0.7, 0.8), (0.9, 0.8), (0.5, 0.5), 2.0),
        ((0.7, 0.8), (0.8, 0.7), (0.5, 0.5), 3.0),
        ((0.7, 0.8), (0.8, 0.7), (0.75, 0.75), 1.0),
        (("failed", 0.99), (0.3, 0.3), (0.2, 0.2), 2.0),
        (("failed", "failed"), ("failed", 0.1), ("failed", "failed"), 2.0),
        (("failed", "failed"), ("failed", "failed"), ("failed", "failed"), None),
        ((0.7, 0.8), (0.9, 0.8), (0.5, "running"), None),
        ((0.7, 0.8), (0.9, 0.8), (0.5,), None),
    ],
    ids=["best", "first of equals", "default of equals", "whole", "any", "none", "open", "not begun"],
)
def test_the_best_mean_of_whole_candidates_is_chosen(
    study: Study,
    first: tuple[float | Status, ...],
    second: tuple[float | Status, ...],
    default: tuple[float | Status, ...],
    chosen: float | None,
) -> None:
    found = plan_candidates(study, [trial(0, 3.0, 0.9), trial(1, 2.0, 0.8)])
    runs: dict[str, RunView] = {}
    for candidate, values in zip(found, (first, second, default), strict=True):
        runs |= ran(candidate, *values)
    best = chosen_by_group(study, found, runs)
    assert [one.overrides[WEIGHT] for one in best.values()] == ([] if chosen is None else [chosen])
    assert bool(open_runs(found, runs)) == (default[-1] == "running" or len(default) == 1)


def test_less_is_better_where_the_metric_is_minimized(small_study: Path) -> None:
    text = small_study.read_text().replace(
        "{metric: val/accuracy, direction: maximize}", "{metric: val/loss, direction: minimize}"
    )
    small_study.write_text(text)
    study = load_study(small_study, ["num_candidates=1000"])
    trials = [trial(0, 3.0, 0.9), trial(1, 2.0, 0.8)]
    found = plan_candidates(study, trials)
    assert weights(found) == [3.0, 2.0, 1.0]
    runs = ran(found[0], 0.5, 0.7) | ran(found[1], 0.3, 0.3) | ran(found[2], 0.4, 0.4)
    assert chosen_by_group(study, found, runs)[0.1,].overrides[WEIGHT] == 2.0
    (choice,) = choices(study, trials, [], found, runs)
    assert choice.optimism == pytest.approx(0.6 + 0.9), "the loss of the search, -0.9, was better than 0.6"
    assert (choice.chosen_values, choice.default_values) == ({1: 0.3, 2: 0.3}, {1: 0.4, 2: 0.4})
