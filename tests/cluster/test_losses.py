"""A study that loses hosts: what is lost is handed out again, and nothing is doubled, failed or left open."""

from __future__ import annotations

import signal
import time

import pytest

from .bench import STUDY, Bench, works
from .hosts import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
LONGER = {**STUDY["base"], "training": {**STUDY["base"]["training"], "num_epochs": 60}}
IN_PAIRS = {"num_trials": 4, "num_workers": 2}


@pytest.mark.nightly
def test_crashed_host_costs_no_trial(bench: Bench) -> None:
    bench.new_study(base=LONGER)
    process = bench.start_tune()
    bench.wait_for_work(process, *bench.nodes)
    bench.nodes[1].crash()
    assert process.wait() == 0, process.output
    bench.check_study()


@pytest.mark.nightly
def test_cut_host_ends_its_work(bench: Bench) -> None:
    """Its trial is run again elsewhere, and when it comes back nothing works on it for a study that has ended."""
    bench.new_study(base=LONGER)
    process = bench.start_tune()
    bench.wait_for_work(process, *bench.nodes)
    bench.nodes[2].cut()
    assert process.wait() == 0, process.output
    bench.check_study()
    bench.nodes[2].heal()
    wait_until(lambda: not works(bench.nodes[2]), "an end of the work on a host that was cut")


@pytest.mark.nightly
def test_worker_groups_survive_host_lost(bench: Bench) -> None:
    """With two workers a trial on three hosts of which one goes, and then another, and both come back."""
    bench.new_study(base=LONGER, budget=IN_PAIRS)
    process = bench.start_tune("--wait", "120")
    bench.wait_for_work(process, bench.nodes[1])
    for host in (bench.nodes[1], bench.nodes[2]):
        host.off()
    time.sleep(5)
    for host in (bench.nodes[1], bench.nodes[2]):
        host.on()
        host.start_ray_node(bench.head)
    assert process.wait(500) == 0, process.output
    bench.check_study()


@pytest.mark.nightly
def test_killed_driver_is_taken_up(bench: Bench) -> None:
    process = bench.start_tune()
    bench.wait_for_trials(process, 2)
    process.signal(signal.SIGKILL)
    process.wait()
    bench.tune()
    bench.check_study()


@pytest.mark.nightly
def test_asked_to_end_closes_all(bench: Bench) -> None:
    """Within 20 s of SIGTERM, with MLflow's runs closed; the same command goes on."""
    bench.new_study(base=LONGER)
    process = bench.start_tune()
    bench.wait_for_work(process, *bench.nodes)
    process.signal(signal.SIGTERM)
    began = time.monotonic()
    assert process.wait() == 143, process.output
    assert time.monotonic() - began < 20
    bench.check_closed(preempted=True)
    bench.tune()
    bench.check_study()


def test_lost_head_ends_driver_in_order(bench: Bench) -> None:
    """The driver, on another host, says so, closes its records and MLflow's runs, and can be given again."""
    bench.new_study(base=LONGER)
    process = bench.start_tune(host=bench.nodes[1])
    bench.wait_for_work(process, *bench.nodes)
    bench.head.off()
    assert process.wait() == 75, process.output
    assert "head" in process.output.splitlines()[-1]
    assert "Traceback" not in process.output
    bench.check_closed(preempted=True)
    bench.restore()
    bench.tune(host=bench.nodes[1])
    bench.check_study()


@pytest.mark.nightly
def test_cut_tracker_ends_no_study(bench: Bench) -> None:
    process = bench.start_tune()
    bench.wait_for_trials(process, 2)
    bench.desk.cut()
    assert process.wait() == 0, process.output
    assert "Traceback" not in process.output
    bench.desk.heal()
    bench.give("sync", bench.name)
    bench.check_study()
