"""Where a study runs, and what it may use, on a cluster of three hosts of one CPU that stay as they are."""

from __future__ import annotations

import re

import pytest

from .bench import STUDY, Bench
from .hosts import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
LONGER = {**STUDY["base"], "training": {**STUDY["base"]["training"], "num_epochs": 40}}


@pytest.mark.nightly
def test_tune_from_head_on_shared_folder(bench: Bench) -> None:
    process = bench.start_tune()
    bench.wait_for_work(process, *bench.nodes)
    assert process.wait() == 0, process.output
    bench.check_study()
    assert re.search(r"Ray 2\.\d+ at 10\.77\.0\.12: 3 nodes, 3 CPU", process.output)


def test_results_that_only_driver_sees(bench: Bench) -> None:
    """Trials on other hosts need nothing of the folder with the results."""
    process = bench.start_tune("--results", "/root/results")
    folder = bench.head.outside(f"/root/results/{bench.name}")
    assert process.wait() == 0, process.output
    bench.check_study(folder)
    for node in bench.nodes[1:]:
        assert not [*node.outside("/root/results").rglob("run.json")]


def test_room_is_counted_per_node(bench: Bench) -> None:
    done = bench.give("tune", bench.file, "budget.cpus_per_worker=2", check=False)
    assert done.returncode == 2
    assert "3 nodes" in done.output
    assert not (bench.folder / "trials").exists()


@pytest.mark.nightly
def test_second_driver_names_first_host(bench: Bench) -> None:
    first = bench.start_tune()
    bench.wait_for_trials(first, 1)
    second = bench.give("tune", bench.file, host=bench.nodes[1], check=False)
    assert second.returncode == 2
    assert "head" in second.output
    assert first.wait() == 0, first.output
    bench.check_study()


@pytest.mark.nightly
def test_node_that_comes_is_used(bench: Bench) -> None:
    (late,) = bench.hosts.up("late")
    bench.new_study(base=LONGER, budget={"num_trials": 10})
    process = bench.start_tune()
    bench.wait_for_trials(process, 1)
    late.start_ray_node(bench.head)
    bench.wait_for_work(process, late)
    assert process.wait() == 0, process.output
    bench.check_study()
    late.off()
    wait_until(lambda: late.address not in bench.alive(), "the loss of a node", pause_s=1)
