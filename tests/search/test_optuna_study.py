"""The Optuna study: opened again and again, and what came out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from supercm_ray.config import Study, load_study
from supercm_ray.records import StudyFolder
from supercm_ray.search import (
    best_by_group,
    enqueue_trials,
    importances,
    num_trials,
    objective_values,
    open_optuna,
    to_optuna,
    unfinished,
)


@pytest.fixture
def folder(tmp_path: Path, small_study: Path) -> StudyFolder:
    study = load_study(small_study)
    return StudyFolder.open(tmp_path, study.name, study.identity())


def in_memory(study: Study) -> optuna.Study:
    return optuna.create_study(directions=[objective.direction for objective in study.objective])


def add(
    opened: optuna.Study,
    study: Study,
    weight: float,
    ratio: float,
    values: list[float] | None,
    state: TrialState = TrialState.COMPLETE,
) -> None:
    params = {"algorithm.clustering_weight": weight, "data.label_ratio": ratio}
    opened.add_trial(create_trial(state=state, params=params, distributions=to_optuna(study), values=values))


def one_objective(small_study: Path, metric: str, direction: str) -> Study:
    """The small study with one objective and no group path."""
    text = small_study.read_text()
    start, end = text.index("objective:"), text.index("budget:")
    small_study.write_text(f"{text[:start]}objective: {{metric: {metric}, direction: {direction}}}\n{text[end:]}")
    return load_study(small_study)


def test_the_best_of_each_level_is_found_among_full_budget_trials(small_study: Path) -> None:
    study = load_study(small_study)
    opened = in_memory(study)
    add(opened, study, 1.0, 0.1, [0.7, 0.1])
    add(opened, study, 2.0, 0.1, [0.8, 0.1])
    add(opened, study, 3.0, 0.1, [0.8, 0.1])  # as good, but later
    add(opened, study, 4.0, 0.05, [0.6, 0.05])
    add(opened, study, 0.5, 0.05, [0.5, 0.05])
    add(opened, study, 4.5, 0.05, None, TrialState.FAIL)
    add(opened, study, 4.6, 0.1, None, TrialState.PRUNED)
    opened.enqueue_trial({"data.label_ratio": 0.1})
    opened.ask()
    best = best_by_group(study, opened)
    assert {group: trial.number for group, trial in best.items()} == {(0.05,): 3, (0.1,): 1}
    assert list(best) == [(0.05,), (0.1,)], "groups come in order"


@pytest.mark.parametrize(
    ("metric", "direction", "number"), [("val/accuracy", "maximize", 1), ("val/loss", "minimize", 2)]
)
def test_direction_decides_what_is_best(small_study: Path, metric: str, direction: str, number: int) -> None:
    study = one_objective(small_study, metric, direction)
    opened = in_memory(study)
    for weight, value in ((1.0, 0.5), (2.0, 0.9), (3.0, 0.1), (4.0, 0.4)):
        add(opened, study, weight, 0.1, [value])
    assert {group: trial.number for group, trial in best_by_group(study, opened).items()} == {(): number}


def test_a_trial_stopped_early_is_never_the_best(small_study: Path) -> None:
    study = one_objective(small_study, "val/accuracy", "maximize")
    opened = in_memory(study)
    trial = opened.ask(to_optuna(study))
    trial.report(0.99, 1)
    opened.tell(trial, state=TrialState.PRUNED)
    assert best_by_group(study, opened) == {}
    add(opened, study, 1.0, 0.1, [0.2])
    assert best_by_group(study, opened)[()].number == 1


def test_the_primary_objective_decides_wherever_it_stands(small_study: Path) -> None:
    text = small_study.read_text()
    lines = [
        "  - {metric: val/accuracy, direction: maximize}\n",
        "  - {metric: data.label_ratio, direction: minimize}\n",
    ]
    small_study.write_text(text.replace("".join(lines), "".join(reversed(lines))))
    study = load_study(small_study)
    assert study.objective[1].metric == "val/accuracy"
    opened = in_memory(study)
    add(opened, study, 1.0, 0.1, [0.1, 0.9])
    add(opened, study, 2.0, 0.1, [0.1, 0.4])
    assert best_by_group(study, opened)[(0.1,)].number == 0


def test_points_are_enqueued_once(small_study: Path, folder: StudyFolder) -> None:
    study = load_study(small_study)
    for _ in range(2):
        opened = open_optuna(study, folder)
        enqueue_trials(study, opened)
        assert [trial.state for trial in opened.trials] == [TrialState.WAITING]
        assert num_trials(opened) == 0
    first = opened.ask(to_optuna(study))
    assert first.params == study.enqueued_trials[0]
    opened.tell(first, [0.5, 0.1])
    enqueue_trials(study, opened)
    assert len(open_optuna(study, folder).trials) == 1, "a point that was tried is not tried again"
    second = opened.ask(to_optuna(study))
    assert second.params != study.enqueued_trials[0]


def test_a_study_is_resumed_where_it_stood(small_study: Path, folder: StudyFolder) -> None:
    study = load_study(small_study)
    opened = open_optuna(study, folder)
    assert [direction.name for direction in opened.directions] == ["MAXIMIZE", "MINIMIZE"]
    opened.tell(opened.ask(to_optuna(study)), [0.5, 0.1])
    interrupted = opened.ask(to_optuna(study))
    again = open_optuna(study, folder)
    assert num_trials(again) == 2
    assert [(trial.number, trial.params) for trial in unfinished(again)] == [(interrupted.number, interrupted.params)]
    assert again.trials[0].values == [0.5, 0.1]


def test_objective_values_are_metrics_or_searched_values(small_study: Path) -> None:
    study = load_study(small_study)
    overrides: dict[str, Any] = {"algorithm.clustering_weight": 2.0, "data.label_ratio": 0.05}
    values = objective_values(study, overrides, {"val/accuracy": 0.75, "val/loss": 0.5, "epoch": 3.0})
    assert values == [0.75, 0.05]
    assert all(isinstance(value, float) for value in values)


def test_importances_need_enough_trials_that_differ(small_study: Path) -> None:
    study = load_study(small_study)
    few, flat = in_memory(study), in_memory(study)
    for i in range(3):
        add(few, study, 1.0 + i, 0.1, [0.1 * i, 0.1])
    for i in range(6):
        add(flat, study, 0.5 + i / 2, 0.1, [0.5, 0.1])
    for i in range(6):
        add(few, study, 1.0 + i / 2, 0.1, None, TrialState.PRUNED)
    assert importances(study, few) == {}
    assert importances(study, flat) == {}


def test_importances_tell_what_mattered_for_the_primary_objective(small_study: Path) -> None:
    study = load_study(small_study)
    opened = in_memory(study)
    for i in range(40):
        weight = 0.06 * 1.1**i
        add(opened, study, weight, (0.05, 0.1)[i % 2], [1.0 / (1.0 + abs(i - 30)), (0.05, 0.1)[i % 2]])
    shares = importances(study, opened)
    assert set(shares) == set(study.space)
    assert shares["algorithm.clustering_weight"] > 0.8 > 0.2 > shares["data.label_ratio"]
