"""Speed-up, cost, what is recommended, what is simulated, and times to a target."""

from __future__ import annotations

import pytest

from supercm_ray.config import EFFICIENCY_FLOOR, Network
from supercm_ray.scaling.all_reduce import Collectives, all_reduce_s, simulate_step
from supercm_ray.scaling.cost import choose, costs
from supercm_ray.scaling.time_to_target import Attempt, target_sentence, time_to_target

MEASURED = {1: [100.0, 90.0, 110.0], 2: [190.0] * 3, 4: [300.0] * 3, 8: [320.0] * 3}


def test_costs_by_hand() -> None:
    rows = {
        row.num_workers: row
        for row in costs(MEASURED, job_samples=3600 * 600, startup_s={1: 36.0}, price_per_gpu_hour=2.5)
    }
    assert [rows[n].speedup for n in (1, 2, 4, 8)] == pytest.approx([1, 1.9, 3, 3.2])
    assert [rows[n].efficiency for n in (1, 2, 4, 8)] == pytest.approx([1, 0.95, 0.75, 0.4])
    assert rows[1].hours == pytest.approx(6.01)
    assert rows[4].gpu_hours == pytest.approx(8)
    assert rows[4].money == pytest.approx(20)
    assert costs(MEASURED, job_samples=10)[0].money is None


def test_without_a_single_worker_the_smallest_number_is_the_measure() -> None:
    rows = costs({2: [100.0], 4: [150.0]}, job_samples=1)
    assert [row.speedup for row in rows] == pytest.approx([2, 3])


def test_the_choice_and_its_reason() -> None:
    choice = choose(costs(MEASURED, job_samples=1e6), floor=EFFICIENCY_FLOOR)
    assert (choice.cheapest, choice.fastest) == (1, 4)
    assert choice.sentence == (
        "Take 4 workers for the least time at an efficiency of 70% or more: 3.00 times as fast as 1 worker for 1.33 "
        "times the cost. 1 worker costs least. 8 workers end soonest of all, at an efficiency of 40%."
    )
    assert choose(costs(MEASURED, job_samples=1e6), floor=0.9).fastest == 2
    assert choose(costs({1: [10.0]}, job_samples=1), floor=EFFICIENCY_FLOOR).sentence.startswith("Take 1 worker: ")


def test_a_start_up_that_outweighs_the_job_makes_one_worker_best() -> None:
    choice = choose(
        costs(MEASURED, job_samples=1000, startup_s={1: 1.0, 2: 30.0, 4: 30.0, 8: 30.0}), floor=EFFICIENCY_FLOOR
    )
    assert choice.cheapest == choice.fastest == 1


def test_all_reduce_by_hand() -> None:
    network = Network(bandwidth=1e9, latency_s=1e-5, workers_per_node=4, inner_bandwidth=1e10, inner_latency_s=1e-6)
    assert all_reduce_s(Collectives(1e9), 1, network, "ring") == 0
    assert all_reduce_s(Collectives(1e9), 4, network, "ring") == pytest.approx(2 * 3 / 4 * 0.1 + 6e-6)
    assert all_reduce_s(Collectives(1e9), 8, network, "ring") == pytest.approx(2 * 7 / 8 + 14e-5)
    assert all_reduce_s(Collectives(1e9), 8, network, "hierarchical") == pytest.approx(0.15 + 6e-6 + 1 + 2e-5)
    assert all_reduce_s(Collectives(1e9, 3), 8, network, "ring") == pytest.approx(2 * 7 / 8 + 3 * 14e-5)
    with pytest.raises(ValueError, match="fill nodes"):
        all_reduce_s(Collectives(1e9), 6, network, "hierarchical")


def test_simulated_steps() -> None:
    network = Network(bandwidth=1e9, latency_s=0.0, overlap=0.5)
    strong = simulate_step(4, 0.8, Collectives(1e8), network, "ring", weak=False)
    assert (strong.compute_s, strong.communication_s) == pytest.approx((0.2, 0.15))
    assert strong.step_s == pytest.approx(0.2 + 0.05)
    assert simulate_step(4, 0.8, Collectives(1e8), network, "ring", weak=True).step_s == pytest.approx(0.8)
    with pytest.raises(ValueError, match="bandwidth"):
        Network(bandwidth=0, latency_s=0)
    with pytest.raises(ValueError, match="overlap"):
        Network(bandwidth=1, latency_s=0, overlap=2)


def test_runs_that_never_reached_the_target_are_later_than_all_others() -> None:
    found = time_to_target([Attempt(2, True), Attempt(6, True), Attempt(4, False)])
    assert (found.median, found.num_runs, found.num_censored) == (6, 3, 1)
    samples = time_to_target([Attempt(200, True), Attempt(600, True), Attempt(400, False)])
    assert target_sentence(found, samples) == "2 of 3 runs reached it, 1 never did; median 6 s and 600 samples"
    early = time_to_target([Attempt(5, True), Attempt(1, False), Attempt(2, True), Attempt(1, False)])
    assert early.median == 5, "a run that diverged early was not quick"


def test_where_most_never_reach_the_target_there_is_no_median() -> None:
    found = time_to_target([Attempt(2, True), Attempt(9, False), Attempt(9, False)])
    assert found.median is None
    assert target_sentence(found, found).endswith("there is no median, for fewer than half did")
    none = time_to_target([Attempt(9, False)] * 2)
    assert target_sentence(none, none) == "none of 2 runs reached it"
    with pytest.raises(ValueError, match="at least one"):
        time_to_target([])
