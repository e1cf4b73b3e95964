"""Studies killed and interrupted at various moments: the same command completes them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
import torch
from studies import Place

from supercm_ray.config import DataConfig, load_study
from supercm_ray.data import DeviceData, load_dataset, make_splits
from supercm_ray.records import RunRecord
from supercm_ray.training import TrainState, fit
from supercm_ray.watching import read_status

from .processes import trial_runners


def _stop(process: subprocess.Popen[str], sig: signal.Signals) -> str:
    """Sends a signal to a command and all its processes; none where it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, sig)
    return process.communicate(timeout=60)[0]


def _ray_processes_of(place: Place) -> list[str]:
    """Ray processes that still run and were started from this place."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                inherited = f"HOME={place.path}/home".encode() in file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if inherited and ("raylet" in command or "ray::" in command or "gcs_server" in command):
            found.append(command[:80])
    return found


@pytest.mark.slow
def test_signals_close_every_run_and_the_same_command_goes_on(place: Place) -> None:
    """Each with its exit status, and the other executor completes it; meanwhile a second command is refused."""
    for sig, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)):
        before = len(list(place.path.glob("results/tiny/trials/*/metrics.jsonl")))
        process = place.start("tune", "tiny.yaml", "num_seeds=1", "budget.num_trials=1000")  # more than it comes to
        place.wait_for(process, "trials/*/metrics.jsonl", before + 1)
        if not before:
            second = place.here("tune", "tiny.yaml")
            assert second.returncode == 2, second.stderr
            assert f"process {process.pid}" in second.stderr
        process.send_signal(sig)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == exit_code, output
        assert "the same command resumes it" in output
        assert "Traceback" not in output
        assert {run.info.status for run in place.runs()} & {"RUNNING", "SCHEDULED"} == set()
        parent = next(run for run in place.runs() if run.data.tags["supercm.kind"] == "study")
        assert parent.data.tags["supercm.status"] == "interrupted"
        assert parent.data.tags["supercm.preempted"] == str(exit_code != 130).lower()
    num_trials = len(list(place.path.glob("results/tiny/trials/*"))) + 1
    place.tune_here("num_seeds=1", f"budget.num_trials={num_trials}")
    place.check_whole(num_trials=num_trials, num_finalists=4)


@pytest.mark.slow
def test_a_measurement_that_is_preempted_is_made_again(place: Place) -> None:
    words = ("scale", "tiny.yaml", "--num-workers", "1", "scaling.repetitions=1", "scaling.num_steps=4")
    process = place.start(*words)
    until = time.monotonic() + 120
    while not list(place.path.glob("results/scale/*/repetitions/*/run.json")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.05)
    (path,) = place.path.glob("results/scale/*")
    began = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    assert time.monotonic() - began < 20
    assert "tiny was interrupted by SIGUSR1, 0 runs ended and stay, 1 to go on" in output
    status = read_status(path)
    assert (status.command, status.state, status.runs) == ("scale", "preempted", {"repetitions": {"interrupted": 1}})
    done = place.run(*words)
    assert done.returncode == 0, done.stdout
    status = read_status(path)
    assert (status.state, status.runs) == ("complete", {"repetitions": {"complete": 1}})
    assert (status.progress.phase, status.progress.done, status.progress.total) == ("repetitions", 1, 1)


@pytest.mark.nightly
@pytest.mark.slow
def test_kill_of_the_whole_group_loses_nothing(place: Place) -> None:
    process = place.start("tune", "tiny.yaml", "num_seeds=1")
    place.wait_for(process, "trials/*/metrics.jsonl", 4)
    _stop(process, signal.SIGKILL)
    ended = {r.key: r for r in place.folder.runs() if r.status in ("complete", "pruned", "failed")}
    until = time.monotonic() + 20
    while _ray_processes_of(place) and time.monotonic() < until:
        time.sleep(0.2)
    assert not _ray_processes_of(place)
    output = place.tune("num_seeds=1")
    assert "search:" in output
    place.check_whole(num_trials=10, num_finalists=4)
    for key, record in ended.items():
        assert place.folder.run(key).record() == record


@pytest.mark.nightly
@pytest.mark.slow
def test_kill_among_the_finalists_loses_nothing(place: Place) -> None:
    process = place.start("tune", "tiny.yaml")
    place.wait_for(process, "finalists/*/test_predictions.npz", 2)
    _stop(process, signal.SIGKILL)
    place.tune()
    place.check_whole(num_trials=10, num_finalists=8)


@pytest.mark.slow
def test_a_worker_killed_in_mid_trial_is_replaced(place: Place) -> None:
    """Its trial goes on from the last checkpoint and ends as if nothing had been."""
    words = ("training.num_epochs=12", "training.steps_per_epoch=25", "budget.num_trials=2", "scheduler.name=none")
    process = place.start("tune", "tiny.yaml", *words, "num_seeds=1", "budget.max_concurrent_trials=1")
    place.wait_for(process, "trials/0000/checkpoint.pt", 1)
    workers = trial_runners(process.pid)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    place.check_whole(num_trials=2, num_finalists=4)
    for record in place.folder.runs("trial"):
        disturbed = place.folder.run(record.key).history()
        assert [_without_times(metrics) for metrics in disturbed] == _undisturbed(place, record, words)


def _undisturbed(place: Place, record: RunRecord, words: tuple[str, ...]) -> list[dict[str, float]]:
    """The metrics of the same trial trained here in one go."""
    config = load_study(place.path / "tiny.yaml", words).base.replace(record.overrides)
    dataset, device = load_dataset(DataConfig(label_ratio=0.1)), torch.device("cpu")
    data = DeviceData.of(dataset, make_splits(dataset.labels, config.data, config.seed), device)
    return [_without_times(metrics) for metrics in fit(TrainState.create(config, dataset, device), data)]


def _without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {
        name: value for name, value in metrics.items() if not name.startswith(("epoch_s", "timestamp_ms", "system/"))
    }


MOMENTS = [
    ("study.json", 1),
    ("optuna.db", 1),
    *(("trials/*/run.json", count) for count in range(1, 11)),
    *(("trials/*/metrics.jsonl", count) for count in range(1, 10)),
    ("finalists.json", 1),
    *(("finalists/*/metrics.jsonl", count) for count in range(1, 9)),
    ("finalists/*/test_predictions.npz", 8),
    ("plots/*.png", 1),
    ("report.html", 1),
]
"""What a study leaves on its way, by pattern and number of files."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2))])
def test_kills_at_random_moments(place: Place, seed: int) -> None:
    """Three kills -9 in a row, at what a study leaves or a little later, then the same command."""
    rng = random.Random(seed)
    for _ in range(3):
        process = place.start("tune", "tiny.yaml")
        _wait_for_moment(place, process, *rng.choice(MOMENTS))
        time.sleep(rng.uniform(0, 0.5))
        _stop(process, signal.SIGKILL)
    place.tune()
    place.check_whole(num_trials=10, num_finalists=8)


def _wait_for_moment(place: Place, process: subprocess.Popen[str], pattern: str, count: int) -> None:
    """Waits until so many files match that are new since the command began, or the command has ended."""
    folder = place.path / "results" / "tiny"
    began = time.time()
    while process.poll() is None:
        matching = list(folder.glob(pattern))
        if len(matching) >= count and any(path.stat().st_mtime >= began for path in matching):
            return
        time.sleep(0.02)
