"""A study to whose hosts much happens: every trial is there once, none failed, nothing is open."""

from __future__ import annotations

import sys

import pytest

from .bench import STUDY, Bench
from .events import Disturbance
from .hosts import Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
TRAINING = {**STUDY["base"]["training"], "num_epochs": 20, "steps_per_epoch": 20}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("num_events", "num_trials"),
    [(4, 12), (20, 60)],
    ids=["few", "many"],
)
def test_study_outlives_its_hosts(
    hosts: Hosts, num_events: int, num_trials: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(hosts)
    bench.start("head", "one", "two")
    bench.new_study(base={**STUDY["base"], "training": TRAINING}, budget={"num_trials": num_trials})
    disturbance = Disturbance(bench, seed=0, num_events=num_events)
    disturbance.run(timeout_s=600 + 120 * num_events)
    view = bench.check_study()
    share = disturbance.trained_share(view)
    with capsys.disabled():
        sys.stdout.write(f"\n{dict(disturbance.happened)}, endings {disturbance.endings}, {share:.0%} spent training\n")
    assert not disturbance.left
