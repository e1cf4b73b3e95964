"""What is measured in which order, what is not measured again, and what is refused."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from supercm_ray.config import Study, change_study, load_study
from supercm_ray.errors import StudyError
from supercm_ray.scaling import Host, RawFile, ScalingPlan, SimulationRequest, load_raw, make_plan, schedule
from supercm_ray.scaling.plan import simulation_of

from .synthetic import raw

SIMULATION = SimulationRequest(counts=(4,), bandwidth=1e9)
HEADER = {"study": "digits", "job_rows": 1000, "command": "first", "commit": "", "versions": {}}


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


def test_a_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path, measured = tmp_path / "raw.json", raw()
    first = RawFile(path, ScalingPlan(workers=(1, 2)), HEADER)
    first.add(measured.repetitions[0], [Host(name="a"), Host(name="a")])
    first.add(measured.tuning[0])
    first.skip("8 workers", "the cluster has room for 2")
    plan = ScalingPlan(workers=(1, 2), price=2.0, simulation=SimulationRequest(counts=(4,), bandwidth=1.0, latency_s=0))
    second = RawFile(path, plan, {**HEADER, "command": "second"})
    second.add(measured.targets[0], [Host(name="a"), Host(name="b")])
    found = load_raw(path)
    assert found == second.raw
    assert (found.repetitions, found.tuning, found.targets) == (
        measured.repetitions[:1],
        measured.tuning[:1],
        measured.targets[:1],
    )
    assert [host.name for host in found.hosts] == ["a", "b"]
    assert (found.price, found.command, found.skipped) == (2.0, "second", {})


def test_what_was_measured_with_something_else_later_is_shown(tmp_path: Path) -> None:
    path, measured = tmp_path / "raw.json", raw()
    first = {**HEADER, "commit": "abc", "versions": {"torch": "2.11", "ray": "2.60"}}
    plan = ScalingPlan(workers=(1, 2))
    RawFile(path, plan, {**first, "commit": "never measured"})
    RawFile(path, plan, first).add(measured.repetitions[0], [Host(name="a", num_cpus=2)])
    again = RawFile(path, plan, {**first, "commit": "def", "versions": {"torch": "2.14", "ray": "2.60"}})
    assert load_raw(path).commit == "abc", "nothing was measured by the other one yet"
    for one in measured.repetitions[1:3]:
        again.add(one, [Host(name="a", num_cpus=4), Host(name="a", num_cpus=2)])
    found = load_raw(path)
    assert found.commit == "abc, def"
    assert found.versions == {"torch": "2.11 and 2.14", "ray": "2.60"}
    assert [host.num_cpus for host in found.hosts] == [2, 4]


def test_runs_towards_another_target_are_refused(tmp_path: Path) -> None:
    file = RawFile(tmp_path / "raw.json", ScalingPlan(workers=(1,), target_accuracy=0.9), HEADER)
    file.add(raw().targets[0])
    assert RawFile(file.path, ScalingPlan(workers=(1,)), HEADER).raw.target_accuracy == 0.9
    with pytest.raises(StudyError, match=r"got 0.8 where .* has runs towards 0.9"):
        RawFile(file.path, ScalingPlan(workers=(1,), target_accuracy=0.8), HEADER)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "something to measure must hold for workers"),
        ({"workers": (1, 1)}, "counts from 1 on, each once must hold for workers"),
        ({"trials_at_once": (0,)}, "counts from 1 on, each once must hold for trials_at_once"),
        ({"workers": (1,), "mode": "both"}, "'strong' or 'weak' must hold for mode"),
        ({"workers": (1,), "repetitions": 0}, "greater than or equal to 1 must hold for repetitions"),
        ({"trials_at_once": (1,), "target_accuracy": 0.9}, "counts for runs towards a target"),
        ({"trials_at_once": (1,), "gpu_fractions": (-0.5,)}, r"shares of a GPU, none below 0 .* got \[-0.5\]"),
        ({"trials_at_once": (1,), "gpu_fractions": (float("nan"),)}, "a finite number must hold for gpu_fractions"),
        ({"workers": (1,), "gpu_fractions": (0.5,)}, "counts of trials that share GPUs must hold for trials_at_once"),
        ({"trials_at_once": (1,), "simulation": SIMULATION}, "counts to simulate from must hold for workers"),
        ({"workers": (1,), "efficiency_floor": 1.5}, "less than or equal to 1 must hold for efficiency_floor"),
        ({"workers": (1,), "price": float("inf")}, "a finite number must hold for price"),
        ({"workers": (1,), "placement": "near"}, "'pack' or 'spread' must hold for placement"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make_plan(**values)


def test_a_simulation_needs_a_stated_network() -> None:
    assert simulation_of((), bandwidth=None) is None
    assert simulation_of((4,), bandwidth=1e9, overlap=None) == SIMULATION
    with pytest.raises(StudyError, match="give --bandwidth"):
        simulation_of((4,))
    with pytest.raises(StudyError, match=r"got latency_s=1e-05 without any count; give --simulate too"):
        simulation_of((), latency_s=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("bandwidth", value) for value in (math.nan, math.inf, 0.0, -1.0)),
        *(("latency_s", value) for value in (math.nan, math.inf, -1.0)),
        *(("workers_per_node", 0), ("overlap", 2.0), ("inner_bandwidth", math.nan), ("inner_latency_s", math.inf)),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_a_line(name: str, value: float) -> None:
    with pytest.raises(StudyError, match=rf"^[^\n]* must hold for {name} of a simulation, got [^\n]*$"):
        simulation_of((4,), **{"bandwidth": 1e9, name: value})


def test_several_workers_of_a_trial_share_no_gpu(study: Study) -> None:
    two = change_study(study, {"budget.num_workers": 2}, "num_workers")
    ScalingPlan(trials_at_once=(1,), gpu_fractions=(0, 1)).check_searches(two)
    plan = ScalingPlan(trials_at_once=(1,), gpu_fractions=(0.5,))
    plan.check_searches(study)
    with pytest.raises(StudyError, match=r"has no GPU or one, got gpu_fractions=\[0.5\] with budget.num_workers=2"):
        plan.check_searches(two)


def test_batches_must_be_shared_evenly(study: Study) -> None:
    with pytest.raises(StudyError, match=r"labeled_batch_size .* must be a multiple of 3 for 3 workers, got 8"):
        ScalingPlan(workers=(1, 3)).check_batches(study)
    weak = ScalingPlan(workers=(1, 3), mode="weak")
    weak.check_batches(study)
    assert weak.sizes(study, 3) == {"training.labeled_batch_size": 24, "training.unlabeled_batch_size": 24}


def test_what_changes_a_measurement_changes_the_identity(study: Study) -> None:
    plan = ScalingPlan(workers=(1,))
    same = [ScalingPlan(workers=(1, 2), repetitions=9, price=1.0), ScalingPlan(trials_at_once=(1,))]
    assert {other.identity(study) for other in same} == {plan.identity(study)}
    others = [ScalingPlan(workers=(1,), num_steps=9), ScalingPlan(workers=(1,), mode="weak")]
    others.append(ScalingPlan(workers=(1,), placement="spread"))
    changed = change_study(study, {"base.training.num_threads": 2}, "num_threads")
    assert len({one.identity(study) for one in [plan, *others]} | {plan.identity(changed)}) == 5
