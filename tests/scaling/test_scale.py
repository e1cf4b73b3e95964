"""Scaling studies from the command line, run for real, killed and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from studies import Place

from scaling.recomputed import check_page
from supercm_ray.records import StudyFolder
from supercm_ray.scaling import Measurements, load_measurements

WORDS = (
    *("scale", "tiny.yaml", "--num-workers", "1,2"),
    *("scaling.repetitions=2", "scaling.num_steps=4", "scaling.warmup_steps=1"),
    *("--trials-at-once", "1,2", "budget.num_trials=3"),
    *("--target-accuracy", "0.3", "scaling.num_seeds=1", "--price-per-gpu-hour", "2"),
    *("scaling.simulation.num_workers=[4]", "scaling.simulation.bandwidth=1e9"),
)


SHORT = ("scaling.repetitions=1", "scaling.num_steps=2", "scaling.warmup_steps=0")


def folder(place: Place) -> Path:
    (path,) = (place.path / "results" / "scale").glob("tiny-strong-*")
    return path


def wait_for(place: Place, process: subprocess.Popen[str], num_repetitions: int) -> None:
    """Waits until the file has so many repetitions."""
    until = time.monotonic() + 150
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        for path in place.path.glob("results/scale/*/measurements.json"):
            if len(json.loads(path.read_text())["repetitions"]) >= num_repetitions:
                return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"no {num_repetitions} repetitions: {process.communicate()[0]}")


def check_whole(place: Place) -> Measurements:
    """Everything that was asked for was measured once, and MLflow has it once."""
    measured = load_measurements(folder(place) / "measurements.json")
    assert Counter((one.num_workers, one.repetition) for one in measured.repetitions) == Counter(
        [(1, 0), (1, 1), (2, 0), (2, 1)]
    )
    assert sorted(one.order for one in measured.repetitions) == [0, 1, 2, 3]
    assert Counter((one.num_workers, one.seed) for one in measured.targets) == Counter([(1, 0), (2, 0)])
    assert Counter((one.trials_at_once, one.repetition) for one in measured.tuning) == Counter(
        [(1, 0), (1, 1), (2, 0), (2, 1)]
    )
    assert all(one.num_trials == 3 and one.seconds > 0 for one in measured.tuning)
    assert all(one.num_complete + one.num_pruned + one.num_failed == 3 for one in measured.tuning)
    assert measured.objective is not None
    assert measured.objective.metric == "val/accuracy"
    runs = place.runs()
    parents = [run for run in runs if run.data.tags["supercm.kind"] == "study"]
    children = {run.data.tags["supercm.run"]: run for run in runs if run not in parents}
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert len(children) == len(runs) - 1 == 10
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parents[0].info.run_id}
    for one in measured.repetitions:
        metrics = children[f"repetitions/{one.num_workers}-{one.repetition}"].data.metrics
        assert metrics["step_s"] == pytest.approx(statistics.median(one.step_s))
    artifacts = {one.path for one in place.client().list_artifacts(parents[0].info.run_id)}
    assert {"measurements.json", "scaling.html", "table.json", "study.yaml", "plots"} <= artifacts
    return measured


def check_alone(measured: Measurements) -> None:
    """One worker is a process without DDP."""
    for one in measured.repetitions:
        assert (one.communication_s > 0) == (one.num_workers > 1)
        assert len(one.step_s) == 4
        assert len(one.nodes) == one.num_workers
        assert one.startup_s > 0
        assert one.gradient_bytes > 0
        assert (one.num_collectives > 0) == (one.num_workers > 1)
        assert one.collective_bytes >= one.gradient_bytes * (one.num_workers > 1)


def table_of(place: Place) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder(place) / "table.json").read_text())
    return tree


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_study_goes_on_and_measures_nothing_twice(place: Place) -> None:
    process = place.start(*WORDS)
    wait_for(place, process, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = load_measurements(folder(place) / "measurements.json").repetitions
    process = place.start(*WORDS)
    wait_for(place, process, len(before) + 1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "the same command resumes it" in output
    done = place.run(*WORDS, timeout_s=400)
    assert done.returncode == 0, done.stdout
    measured = check_whole(place)
    check_alone(measured)
    assert measured.repetitions[: len(before)] == before
    lines = done.stdout.splitlines()
    assert Path(place.path, lines[-1]).resolve() == (folder(place) / "measurements.json").resolve()
    assert "Simulated, not measured: 4 workers" in done.stdout
    table = table_of(place)
    assert [row["num_workers"] for row in table["workers"]] == [1, 2]
    check_page(folder(place))
    assert "Simulated beside measured, 2 workers" in done.stdout

    again = place.run(*WORDS)
    assert again.returncode == 0, again.stdout
    assert check_whole(place).repetitions == measured.repetitions
    assert table_of(place) == table
    compared = place.run("compare", str(folder(place)), lines[-1])
    assert compared.returncode == 0, compared.stdout
    assert re.search(r"^ +2 .* 1\.000 ", compared.stdout, flags=re.MULTILINE)
    assert StudyFolder.existing(folder(place)).runs("scale")


@pytest.mark.nightly
@pytest.mark.slow
def test_counts_without_room_are_refused_or_skipped_by_name(place: Place) -> None:
    words = ("scale", "tiny.yaml", "--num-workers", "1,50", *SHORT)
    done = place.run(*words)
    assert done.returncode == 2, done.stdout
    assert "50 workers must fit the cluster at once, got room for" in done.stdout
    done = place.run(*words, "scaling.skip_missing=true")
    assert done.returncode == 0, done.stdout
    assert "not measured, 50 workers: the cluster has room for" in done.stdout
    assert [one.num_workers for one in load_measurements(folder(place) / "measurements.json").repetitions] == [1]
    more = place.run(*words[:3], "1", "scaling.repetitions=2", *SHORT[1:])
    assert more.returncode == 0, more.stdout
    assert "not measured" not in more.stdout


def test_a_section_that_cannot_be_measured_is_refused_before_anything_starts(place: Place) -> None:
    done = place.run("scale", "tiny.yaml", "--num-workers", "1,3")
    assert done.returncode == 2, done.stdout
    assert "must be a multiple of 3 for scaling.num_workers=[1, 3], got 50" in done.stdout
    assert not (place.path / "results").exists()
