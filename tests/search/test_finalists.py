"""The last round: which runs it makes and what the table says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from supercm_ray.config import Study, load_study
from supercm_ray.records import RunRecord, Status, StudyFolder
from supercm_ray.search.finalists import BASELINE, TUNED, Finalist, Row, plan_finalists, table

BEST = {
    (0.05,): {"algorithm.clustering_weight": 2.0, "data.label_ratio": 0.05},
    (0.1,): {"algorithm.clustering_weight": 0.5, "data.label_ratio": 0.1},
}


@pytest.fixture
def study(small_study: Path) -> Study:
    return load_study(small_study, ["num_seeds=3", "seed=4"])


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> StudyFolder:
    return StudyFolder.open(tmp_path, study.name, study.identity())


def write(
    study: Study, folder: StudyFolder, finalist: Finalist, val: float, test: float, status: Status = "complete"
) -> None:
    """Leaves on disk what a finalist leaves."""
    run, params = folder.run(finalist.key), study.base.replace(finalist.overrides).leaves()
    record = RunRecord(finalist.key, "finalist", finalist.overrides, params, 60, labels=finalist.labels)
    run.write(record if status == "running" else record.ended(status, summary={"test/accuracy": test}))
    run.append({"epoch": 1, "val/accuracy": 0.01, "val/loss": 9.0})
    run.append({"epoch": 2, "val/accuracy": val, "val/loss": 1.0})


def rows_of(study: Study, folder: StudyFolder, finalists: list[Finalist]) -> list[Row]:
    """The table of these finalists, from their records."""
    return table(study, finalists, {view.record.key: view for view in folder.views()})


def by_arm(finalists: list[Finalist], group: tuple[Any, ...], arm: str) -> list[Finalist]:
    return [each for each in finalists if (each.group, each.arm) == (group, arm)]


def test_each_group_and_arm_runs_on_fresh_seeds(study: Study) -> None:
    finalists = plan_finalists(study, BEST)
    assert len(finalists) == 2 * 2 * 3
    for group in BEST:
        for arm in (TUNED, BASELINE):
            seeds = [each.overrides["seed"] for each in by_arm(finalists, group, arm)]
            assert len(set(seeds)) == 3
            assert study.base.seed not in seeds, "params were chosen on that seed"
    first, second = ({each.overrides["seed"] for each in by_arm(finalists, (0.1,), arm)} for arm in (TUNED, BASELINE))
    assert first == second, "arms are compared seed by seed"


def test_the_baseline_differs_from_the_tuned_arm_by_its_overrides_alone(study: Study) -> None:
    finalists = plan_finalists(study, BEST)
    for group, best in BEST.items():
        for each in by_arm(finalists, group, TUNED):
            assert each.overrides == {**best, "seed": each.overrides["seed"]}
        for each in by_arm(finalists, group, BASELINE):
            assert each.overrides == {**best, "algorithm.clustering_weight": 0.0, "seed": each.overrides["seed"]}
            assert each.labels == {"arm": BASELINE, "group": list(group)}


def test_without_a_baseline_there_is_one_arm(small_study: Path) -> None:
    small_study.write_text(small_study.read_text().replace("baseline: {algorithm.clustering_weight: 0.0}\n", ""))
    finalists = plan_finalists(load_study(small_study), BEST)
    assert {each.arm for each in finalists} == {TUNED}
    assert len(finalists) == 2 * 2


def test_keys_are_folders_of_their_own_and_the_same_again(study: Study) -> None:
    keys = [each.key for each in plan_finalists(study, BEST)]
    assert len(set(keys)) == len(keys)
    assert all(Path(key).parts[0] == "finalists" and len(Path(key).parts) == 2 for key in keys)
    assert [each.key for each in plan_finalists(study, BEST)] == keys


def test_other_best_params_get_other_folders(study: Study) -> None:
    """A resumed study whose best params have changed must not take the results of the former one for its own."""
    changed = {group: {**best, "algorithm.clustering_weight": 3.0} for group, best in BEST.items()}
    tuned = {each.key for each in plan_finalists(study, BEST) if each.arm == TUNED}
    assert tuned.isdisjoint(each.key for each in plan_finalists(study, changed))


def test_the_table_by_hand(study: Study, folder: StudyFolder) -> None:
    finalists = plan_finalists(study, {(0.1,): BEST[(0.1,)]})
    tests = {TUNED: [0.9, 0.8, 0.7], BASELINE: [0.6, 0.7, 0.2]}
    for arm, values in tests.items():
        for finalist, value in zip(by_arm(finalists, (0.1,), arm), values, strict=True):
            write(study, folder, finalist, val=value - 0.1, test=value)
    tuned, baseline = rows_of(study, folder, finalists)
    assert (tuned.arm, baseline.arm, tuned.group) == (TUNED, BASELINE, (0.1,))
    assert tuned.test_accuracy == pytest.approx((0.8, 0.1))
    assert tuned.val_accuracy == pytest.approx((0.7, 0.1)), "the last epoch counts"
    assert baseline.test_accuracy == pytest.approx((0.5, math.sqrt(0.07)))
    assert tuned.gains == pytest.approx((0.3, 0.1, 0.5))
    assert baseline.gains == ()
    assert (tuned.num_runs, tuned.num_seeds, tuned.label_budget) == (3, 3, 60)
    assert tuned.overrides == BEST[(0.1,)]
    assert baseline.overrides == {**BEST[(0.1,)], "algorithm.clustering_weight": 0.0}


def test_groups_are_kept_apart(study: Study, folder: StudyFolder) -> None:
    finalists = plan_finalists(study, BEST)
    for finalist in finalists:
        value = finalist.group[0] + (0.5 if finalist.arm == TUNED else 0.2)
        write(study, folder, finalist, val=value, test=value)
    rows = rows_of(study, folder, finalists)
    assert [(row.group, row.arm) for row in rows] == [
        ((0.05,), TUNED),
        ((0.05,), BASELINE),
        ((0.1,), TUNED),
        ((0.1,), BASELINE),
    ]
    assert [row.test_accuracy[0] for row in rows] == pytest.approx([0.55, 0.25, 0.6, 0.3])
    assert rows[2].gains == pytest.approx((0.3, 0.3, 0.3))


@pytest.mark.parametrize("status", ["failed", "running", "interrupted"])
def test_a_seed_that_did_not_end_well_is_left_out_of_its_pair(
    study: Study, folder: StudyFolder, status: Status
) -> None:
    finalists = plan_finalists(study, {(0.1,): BEST[(0.1,)]})
    tuned, baseline = (by_arm(finalists, (0.1,), arm) for arm in (TUNED, BASELINE))
    for finalist, test, how in zip(tuned, [0.9, 0.8, 0.1], ["complete", "complete", status], strict=True):
        write(study, folder, finalist, 0.5, test, how)
    for finalist, test, how in zip(baseline, [0.1, 0.6, 0.5], [status, "complete", "complete"], strict=True):
        write(study, folder, finalist, 0.5, test, how)
    first, second = rows_of(study, folder, finalists)
    assert (first.num_runs, first.num_seeds) == (2, 3)
    assert first.test_accuracy[0] == pytest.approx(0.85)
    assert second.test_accuracy[0] == pytest.approx(0.55)
    assert first.gains == pytest.approx((0.2,)), "the second seed is the only one with both arms"


def test_a_missing_baseline_leaves_no_gain_and_no_row(study: Study, folder: StudyFolder) -> None:
    finalists = plan_finalists(study, {(0.1,): BEST[(0.1,)]})
    for finalist in by_arm(finalists, (0.1,), TUNED):
        write(study, folder, finalist, 0.5, 0.5)
    (row,) = rows_of(study, folder, finalists)
    assert (row.arm, row.gains, row.num_runs) == (TUNED, (), 3)


def test_a_single_seed_has_no_standard_deviation(study: Study, folder: StudyFolder) -> None:
    finalists = plan_finalists(study, {(0.1,): BEST[(0.1,)]})
    write(study, folder, by_arm(finalists, (0.1,), TUNED)[0], 0.4, 0.5)
    (row,) = rows_of(study, folder, finalists)
    assert (row.num_runs, row.num_seeds, row.test_accuracy[0]) == (1, 3, 0.5)
    assert math.isnan(row.test_accuracy[1])
    assert math.isnan(row.val_accuracy[1])


def test_nothing_run_gives_no_table(study: Study, folder: StudyFolder) -> None:
    assert rows_of(study, folder, plan_finalists(study, BEST)) == []
