"""`train` on several workers: what it leaves, and that no kill -9 of worker, raylet or command changes the result."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from studies import Place

from supercm_ray.records import RunFolder, StudyFolder

from .processes import below

NUM_EPOCHS = 30
WORDS = (
    *("train", "tiny.yaml", "--workers", "2", "--test"),
    *(f"training.num_epochs={NUM_EPOCHS}", "training.steps_per_epoch=60", "algorithm.name=mean_teacher"),
)
PATTERNS = {"worker": r"ray::RayTrainWorker", "raylet": r"\S*/raylet "}


def run_folder(place: Place) -> RunFolder:
    (path,) = (place.path / "results" / "train").glob("tiny-*")
    return StudyFolder.existing(path).run("train/tiny")


def checkpoint(place: Place) -> dict[str, Any]:
    """The last checkpoint, without the time that epochs took and what the machine did meanwhile."""
    saved = torch.load(run_folder(place).path / "checkpoint.pt", weights_only=True)
    assert isinstance(saved, dict)
    saved["history"] = [{name: metrics[name] for name in metrics if _is_result(name)} for metrics in saved["history"]]
    return saved


def _is_result(name: str) -> bool:
    return name != "epoch_seconds" and not name.startswith("system/")


def equal(one: Any, other: Any) -> bool:
    """Whether two trees are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def check_whole(place: Place) -> None:
    """One closed run in MLflow, each epoch once, in the records and there."""
    (run,) = [run for run in place.runs() if run.data.tags["supercm.kind"] != "study"]
    assert run.info.status == "FINISHED"
    steps = [metric.step for metric in place.client().get_metric_history(run.info.run_id, "val/accuracy")]
    epochs = [metrics["epoch"] for metrics in run_folder(place).history()]
    assert steps == epochs == list(range(1, NUM_EPOCHS + 1))
    assert run.data.metrics["test/accuracy"] == run_folder(place).record().summary["test/accuracy"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Place:
    made = Place.make(tmp_path_factory.mktemp("undisturbed"), empty_mlflow)
    done = made.run(*WORDS)
    assert done.returncode == 0, done.stdout
    return made


@pytest.mark.slow
def test_what_two_workers_leave_is_what_one_process_leaves(undisturbed: Place, place: Place) -> None:
    """Up to rounding, which grows with every step: tests/training/test_parity.py compares in float64."""
    check_whole(undisturbed)
    assert run_folder(undisturbed).test_predictions.exists()
    done = place.here(*(word for word in WORDS if word not in ("--workers", "2")))
    assert done.returncode == 0, done.stderr
    check_whole(place)
    ours, theirs = (run_folder(one).history()[0] for one in (place, undisturbed))
    for name in ("train/loss", "train/clustering", "val/loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=2e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2))])
def test_kills_change_nothing(place: Place, undisturbed: Place, seed: int) -> None:
    """Five kills -9 a run: two workers, two commands and last a raylet, at random moments; one run, two more by
    `make test-slow`, and `test_interruption.py` kills as well.

    Workers go on until they notice that their command or raylet is gone, and may come to the run's end before: then
    what is left of the kills meets the command while it reads what they have written.
    """
    rng = random.Random(seed)
    victims = [*rng.sample(["worker", "worker", "driver", "driver"], 4), "raylet"]
    moments = sorted(rng.sample(range(1, NUM_EPOCHS // 2), 5))
    process = place.start(*WORDS)
    for victim, epoch in zip(victims, moments, strict=True):
        wait_for_epoch(place, process, epoch)
        time.sleep(rng.uniform(0, 0.3))
        kill(process, victim, rng)
        if victim != "worker":
            process.communicate(timeout=240)
            assert process.returncode != 0 or victim == "raylet"
            process = place.start(*WORDS)
    output, _ = process.communicate(timeout=240)
    if process.returncode:  # a machine that is too busy to start Ray in time is to be asked again
        output = f"{output}\n{place.run(*WORDS).stdout}"
    assert run_folder(place).record().status == "complete", output
    check_whole(place)
    assert equal(checkpoint(place), checkpoint(undisturbed))


def kill(process: subprocess.Popen[str], victim: str, rng: random.Random) -> None:
    """Kills the command, or one of its processes of a kind as soon as there is one."""
    pids = [process.pid]
    until = time.monotonic() + 60
    while victim != "driver":
        pids = [pid for pid, command in below(process.pid).items() if re.match(PATTERNS[victim], command)]
        if pids:
            break
        assert process.poll() is None and time.monotonic() < until, f"no {victim}"
        time.sleep(0.1)
    os.kill(rng.choice(pids), signal.SIGKILL)


def wait_for_epoch(place: Place, process: subprocess.Popen[str], epoch: int) -> None:
    """Waits until the record has the metrics of that epoch."""
    until = time.monotonic() + 150
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        for path in place.path.glob("results/train/tiny-*/train/tiny/metrics.jsonl"):
            if path.read_text().count("\n") >= epoch:
                return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"no epoch {epoch}: {process.communicate()[0]}")


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_frees_everything(place: Place) -> None:
    process = place.start(*WORDS)
    wait_for_epoch(place, process, 2)
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command resumes it" in output
    assert "Traceback" not in output
    assert time.monotonic() - started < 30
    assert not [command for command in below(process.pid).values() if "ray::" in command]
    assert {run.info.status for run in place.runs()} & {"RUNNING", "SCHEDULED"} == set()


@pytest.mark.slow
def test_a_loss_that_diverges_is_one_clear_error(place: Place) -> None:
    done = place.run(*WORDS, "training.learning_rate=1e30")
    assert done.returncode == 1, done.stdout
    assert "the training loss became" in done.stdout
    assert "Traceback" not in done.stdout
    assert run_folder(place).record().status == "failed"


BROKEN_PLUGIN = """
from supercm_ray.algorithms import ALGORITHMS, Step, Terms

@ALGORITHMS.register("broken")
def broken(step: Step) -> Terms:
    raise ValueError("the algorithm broke")
"""


@pytest.mark.slow
def test_what_a_worker_had_to_say_is_shown_once_and_kept(place: Place) -> None:
    (place.path / "broken_plugin.py").write_text(BROKEN_PLUGIN)
    done = place.run(
        *("train", "tiny.yaml", "--workers", "2", "budget.max_failures=1"),
        *("plugins=[broken_plugin]", "algorithm.name=broken"),
    )
    assert done.returncode == 1, done.stdout
    assert done.stdout.count("Traceback (most recent call last)") == 1
    assert done.stdout.count("broken_plugin.py") == 1
    assert "error: the workers failed 2 times in a row" in done.stdout
    assert "broken_plugin.py" in run_folder(place).traceback.read_text()


@pytest.mark.slow
def test_a_finished_run_stays_finished_when_its_test_split_cannot_be_opened(place: Place) -> None:
    words = ("train", "tiny.yaml", "training.num_epochs=1")
    assert place.here(*words).returncode == 0
    done = place.run(*words, "--test", "--workers", "2", "--gpu")
    assert done.returncode == 2, done.stdout
    assert "1 CPU and 1 GPU each" in done.stdout
    assert run_folder(place).record().status == "complete"
    assert place.here(*words, "--test").returncode == 0
    assert "test/accuracy" in run_folder(place).record().summary


def test_workers_on_gpus_that_none_is_given_are_refused_before_anything_starts(place: Place) -> None:
    for words in (("train", "tiny.yaml", "--workers", "2"), ("tune", "tiny.yaml")):
        done = place.here(*words, "training.device=cuda")
        assert done.returncode == 2, done.stderr
        assert "each worker must be given a GPU, budget.gpus_per_worker above 0" in done.stderr
    assert not (place.path / "results").exists()


def test_workers_that_do_not_share_a_batch_evenly_are_refused_before_anything_starts(place: Place) -> None:
    done = place.here("train", "tiny.yaml", "--workers", "3")
    assert done.returncode == 2, done.stderr
    assert "workers share each batch evenly" in done.stderr
    assert "50 samples for 3 workers" in done.stderr
    assert not (place.path / "results").exists()


def test_words_that_are_no_number_of_workers_are_refused(place: Place) -> None:
    done = place.here("train", "tiny.yaml", "--workers", "two")
    assert done.returncode == 2, done.stderr
    assert "--workers must be a number or MIN:MAX, got 'two'" in done.stderr
