"""Early stopping within a group and across resumptions, without Ray running."""

from __future__ import annotations

from pathlib import Path

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.records import EpochMetrics, RunRecord, Status, StudyFolder
from supercm_ray.runtime.stopping_rules import AshaByGroup


@pytest.fixture
def study() -> Study:
    digits = Path(__file__).parents[2] / "search_spaces" / "digits.yaml"
    words = ["scheduler.options.grace_period=2", "scheduler.options.reduction_factor=2", "training.num_epochs=8"]
    return load_study(digits, words)


@pytest.fixture
def folder(study: Study, tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path, study.name, study.identity())


def stops(rule: AshaByGroup, number: int, epoch: int, accuracy: float, group: float = 0.01) -> bool:
    """Whether the rule stops a trial whose epoch had this accuracy."""
    message = EpochMetrics(epoch, {"val/accuracy": accuracy})
    return rule.decide(f"trials/{number:04d}", {"data.label_ratio": group}, message)


def keep(folder: StudyFolder, number: int, status: Status, accuracies: list[float]) -> None:
    run = folder.run(f"trials/{number:04d}")
    run.write(RunRecord(run.key, "trial", {"data.label_ratio": 0.01}, {}, 1, status=status))
    for epoch, accuracy in enumerate(accuracies, 1):
        run.append({"epoch": epoch, "val/accuracy": accuracy})


def test_a_trial_is_measured_within_its_group_only(study: Study) -> None:
    rule = AshaByGroup(study)
    assert not stops(rule, 0, 2, 0.9, group=0.1)
    assert not stops(rule, 1, 2, 0.5)
    assert stops(rule, 2, 2, 0.4)


def test_a_trial_that_completed_is_measured_against(study: Study) -> None:
    rule = AshaByGroup(study)
    for number in (0, 1):
        assert not any(stops(rule, number, epoch, 0.8) for epoch in range(1, 8))
        rule.complete(f"trials/{number:04d}", {"data.label_ratio": 0.01}, EpochMetrics(8, {"val/accuracy": 0.8}))
    assert [stops(rule, 2, epoch, 0.3) for epoch in (1, 2)] == [False, True]


def test_trials_that_ended_before_a_resumption_still_count(study: Study, folder: StudyFolder) -> None:
    keep(folder, 0, "complete", [0.6, 0.7, 0.8])
    keep(folder, 1, "pruned", [0.5, 0.5])
    rule = AshaByGroup(study)
    rule.replay(folder.views())
    assert not stops(rule, 2, 1, 0.1), "within the grace period"
    assert stops(rule, 2, 2, 0.55)


def test_a_failed_trial_is_not_measured_against(study: Study, folder: StudyFolder) -> None:
    keep(folder, 0, "failed", [0.9, 0.9])
    rule = AshaByGroup(study)
    rule.replay(folder.views())
    assert not stops(rule, 1, 2, 0.1)


def test_a_resumed_trial_is_not_stopped_at_a_rung_it_has_passed(study: Study, folder: StudyFolder) -> None:
    keep(folder, 0, "interrupted", [0.3, 0.3, 0.3, 0.3, 0.3])
    for number in (1, 2, 3):
        keep(folder, number, "complete", [0.9] * 8)
    rule = AshaByGroup(study)
    rule.replay(folder.views())
    assert not any(stops(rule, 0, epoch, 0.3) for epoch in range(1, 6))
    assert not stops(rule, 4, 2, 0.95), "others are measured as ever"
    assert stops(rule, 5, 2, 0.2)
