"""What is left to measure, in which order, and what belongs to one study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from supercm_ray.config import ScalingConfig, Study, change_study, load_study
from supercm_ray.scaling.plan import identity, remaining, schedule

from .synthetic import measurements


@pytest.fixture
def study(small_study: Path) -> Study:
    return load_study(small_study)


def test_each_block_has_every_count_once_in_an_order_of_its_own() -> None:
    pairs = schedule((1, 2, 4, 8), 8, 0, ())
    blocks = [pairs[i : i + 4] for i in range(0, 32, 4)]
    assert all([number for _, number in block] == [i] * 4 for i, block in enumerate(blocks))
    assert all(sorted(count for count, _ in block) == [1, 2, 4, 8] for block in blocks)
    assert len({tuple(count for count, _ in block) for block in blocks}) > 3
    assert schedule((8, 4, 2, 1), 8, 0, ()) == pairs
    assert schedule((1, 2, 4, 8), 8, 1, ()) != pairs


def test_what_is_done_is_left_out_and_the_order_stays() -> None:
    pairs = schedule((1, 2, 4), 4, 0, ())
    for cut in range(len(pairs) + 1):
        assert schedule((1, 2, 4), 4, 0, pairs[:cut]) == pairs[cut:]
    assert Counter(count for count, _ in schedule((1, 2, 4, 8), 4, 0, pairs)) == {8: 4}


def test_what_is_left_follows_the_section(study: Study) -> None:
    scaling = ScalingConfig(
        num_workers=(1, 2), trials_at_once=(1, 2), gpu_fractions=(0.0, 0.5), repetitions=2, target_accuracy=0.9
    )
    nothing = measurements(repetitions=0, targets=(), tuning=())
    left = remaining(study, scaling, nothing)
    assert (len(left.repetitions), len(left.targets), len(left.searches)) == (4, 6, 8)
    assert {seed for _, seed in left.targets} == {0, 1, 2}
    assert left.settings == [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    fewer = left.only([1], [(2, 0.5)])
    assert (fewer.num_workers, fewer.settings) == ([1], [(2, 0.5)])
    assert (len(fewer.repetitions), len(fewer.targets), len(fewer.searches)) == (2, 3, 2)


def test_what_was_measured_is_not_left(study: Study) -> None:
    scaling = ScalingConfig(num_workers=(1, 2), trials_at_once=(1, 2), repetitions=3, target_accuracy=0.9)
    assert not remaining(study, scaling, measurements())
    partly = measurements(num_workers=(1,), targets=measurements().targets[:2])
    left = remaining(study, scaling, partly)
    assert {num_workers for num_workers, _ in left.repetitions} == {2}
    assert sorted(left.targets) == [(1, 2), (2, 0), (2, 1), (2, 2)]
    assert left.searches == []


def test_what_changes_a_measurement_changes_the_identity(study: Study) -> None:
    plain = ScalingConfig(num_workers=(1,))
    same = [
        ScalingConfig(num_workers=(1, 2), repetitions=9, price_per_gpu_hour=1.0),
        ScalingConfig(trials_at_once=(1,)),
    ]
    assert {identity(study, other) for other in same} == {identity(study, plain)}
    others = [ScalingConfig(num_workers=(1,), num_steps=9), ScalingConfig(num_workers=(1,), mode="weak")]
    others.append(ScalingConfig(num_workers=(1,), placement="spread"))
    changed = change_study(study, {"base.training.num_threads": 2}, "num_threads")
    assert len({identity(study, one) for one in [plain, *others]} | {identity(changed, plain)}) == 5
    assert identity(study.model_copy(update={"scaling": plain}), plain) == identity(study, plain)
