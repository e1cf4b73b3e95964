"""Early stopping and proposals across resumptions, without Ray running."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from supercm_ray.config import Study, load_study
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.runtime.tune_scheduler import GroupScheduler
from supercm_ray.runtime.tune_search import StudySearch

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


@pytest.fixture
def study() -> Study:
    digits = Path(__file__).parents[2] / "search_spaces" / "digits.yaml"
    return load_study(digits, ["scheduler.grace_period=2", "scheduler.reduction_factor=2", "training.num_epochs=8"])


@pytest.fixture
def folder(study: Study, tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path, study.name, study.identity())


def trial(number: int, group: float = 0.01) -> Any:
    config = {"run": f"trials/{number:04d}", "overrides": {"data.label_ratio": group}}
    return SimpleNamespace(trial_id=str(number), config=config)


def report(scheduler: GroupScheduler, one: Any, epoch: int, accuracy: float) -> str:
    return scheduler.on_trial_result(None, one, {"epoch": epoch, "val/accuracy": accuracy})


def keep(folder: StudyFolder, number: int, status: Any, accuracies: list[float]) -> None:
    run = folder.run(f"trials/{number:04d}")
    run.write(RunRecord(run.key, "trial", {"data.label_ratio": 0.01}, {}, 1, status=status))
    for epoch, accuracy in enumerate(accuracies, 1):
        run.append({"epoch": epoch, "val/accuracy": accuracy})


def test_a_trial_is_measured_within_its_level_only(study: Study) -> None:
    scheduler = GroupScheduler(study)
    trials = [trial(0, 0.1), trial(1, 0.01), trial(2, 0.01)]
    for one in trials:
        scheduler.on_trial_add(None, one)
    assert report(scheduler, trials[0], 2, 0.9) == CONTINUE
    assert report(scheduler, trials[1], 2, 0.5) == CONTINUE
    assert report(scheduler, trials[2], 2, 0.4) == STOP


def test_trials_that_ended_before_a_resumption_still_count(study: Study, folder: StudyFolder) -> None:
    keep(folder, 0, "complete", [0.6, 0.7, 0.8])
    keep(folder, 1, "pruned", [0.5, 0.5])
    scheduler = GroupScheduler(study)
    scheduler.replay(folder)
    late = trial(2)
    scheduler.on_trial_add(None, late)
    assert report(scheduler, late, 1, 0.1) == CONTINUE, "within the grace period"
    assert report(scheduler, late, 2, 0.55) == STOP


def test_a_resumed_trial_is_not_stopped_at_a_rung_it_has_passed(study: Study, folder: StudyFolder) -> None:
    keep(folder, 0, "interrupted", [0.3, 0.3, 0.3, 0.3, 0.3])
    for number in (1, 2, 3):
        keep(folder, number, "complete", [0.9] * 8)
    scheduler = GroupScheduler(study)
    scheduler.replay(folder)
    resumed = trial(0)
    scheduler.on_trial_add(None, resumed)
    decisions = [report(scheduler, resumed, epoch, 0.3) for epoch in range(1, 7)]
    assert decisions[:5] == [CONTINUE] * 5


def test_proposals_go_on_after_a_resumption(study: Study, folder: StudyFolder) -> None:
    """Each process proposes anew, hands out first what was cut off, and never more than the budget."""
    seen: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        search = StudySearch(study, folder, lambda key, overrides: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = [search.suggest(str(i)) for i in range(6)]
        for i, proposal in enumerate(first):
            known = seen.setdefault(proposal["run"], proposal["overrides"])
            assert known == proposal["overrides"], "a trial cut off keeps its setting"
            if i < 4:
                result = {"epoch": 8, "val/accuracy": 0.5}
                search.on_trial_complete(str(i), result)
    sampled = [
        overrides["algorithm.clustering_weight"] for overrides in list(seen.values())[len(study.enqueued_trials) :]
    ]
    assert len(set(sampled)) == len(sampled) > 3


def test_an_outcome_that_is_no_number_fails_with_the_reason(study: Study, folder: StudyFolder) -> None:
    search = StudySearch(study, folder, lambda key, overrides: None)
    search.suggest("a")
    search.on_trial_complete("a", {"epoch": 8, "val/accuracy": float("nan")})
    (ended,) = [t for t in search._optuna.trials if t.state.is_finished()]
    assert ended.state.name == "FAIL"
    assert "the objective is not a number in epoch 8" in ended.user_attrs["reason"]
