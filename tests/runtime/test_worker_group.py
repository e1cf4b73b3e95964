"""Runs on several workers, with real Ray, real processes and real kills; what the workers do is a toy."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from supercm_ray.errors import DivergedError, StudyError, WorkersError
from supercm_ray.execution import interruption
from supercm_ray.execution.interruption import interruptible
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.nodes import alive_nodes
from supercm_ray.runtime.worker_group import WorkerGroupRun, Workers, groups_that_fit

from . import toy_loops
from .processes import listening_addresses

TWO = Workers(2, cpus_per_worker=0.5)


@pytest.fixture(scope="module")
def session() -> Iterator[float]:
    """Ray on this machine; gives the CPUs that are free when nothing runs."""
    before = dict(os.environ)
    for module in (toy_loops, sys.modules[__name__]):  # Ray's processes know nothing of the tests
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        with ray_session():
            yield ray.cluster_resources()["CPU"]
    finally:
        for module in (toy_loops, sys.modules[__name__]):
            ray.cloudpickle.unregister_pickle_by_value(module)
        os.environ.clear()
        os.environ.update(before)


def group(folder: Path, workers: Workers = TWO, **given: Any) -> WorkerGroupRun:
    return WorkerGroupRun(toy_loops.count, {"folder": str(folder / "toy"), **given}, workers, name="toy")


def begun(folder: Path) -> list[str]:
    return sorted((folder / "toy" / "begun").read_text().splitlines())


def kill_worker(folder: Path, rank: int) -> None:
    os.kill(int((folder / "toy" / f"pid-{rank}").read_text()), signal.SIGKILL)


def seconds_until_free(cpus: float) -> float:
    since = time.monotonic()
    while ray.available_resources().get("CPU") != cpus:
        assert time.monotonic() - since < 30, ray.available_resources()
        time.sleep(0.05)
    return time.monotonic() - since


def test_messages_come_in_order_at_once_and_whole_and_the_end_frees_all(session: float, tmp_path: Path) -> None:
    times, messages, addresses = [], [], set()
    for message in group(tmp_path, epochs=40, data=np.ones(1_000_000)):
        times.append(time.monotonic())
        messages.append(message)
        if message["epoch"] == 1:
            workers = [int((tmp_path / "toy" / f"pid-{rank}").read_text()) for rank in range(2)]
            assert [os.getsid(pid) for pid in workers] == workers, "torchrun's workers have sessions of their own too"
        if message["epoch"] == 40:
            addresses = listening_addresses(os.getpid())
    assert all(address.startswith("127.") for address in addresses), addresses
    assert [message["epoch"] for message in messages] == list(range(1, 42))
    assert all(message["workers"] == 2 and message["sum"] == 1e6 for message in messages[:-1])
    assert np.array_equal(messages[-1]["array"], np.arange(200_000))
    assert times[-1] - times[0] < 40 * 0.25, "an epoch of 20 ms waits for no poll"
    assert seconds_until_free(session) < 10
    assert begun(tmp_path) == ["0 of 2 from 0", "1 of 2 from 0"]


def test_more_workers_than_fit_are_one_clear_error_at_once(session: float, tmp_path: Path) -> None:
    many = int(session) + 1
    since = time.monotonic()
    with pytest.raises(StudyError, match=f"{many} workers must fit the cluster at once, got room for {int(session)}"):
        next(iter(group(tmp_path, Workers(many), epochs=1)))
    with pytest.raises(StudyError, match="1 CPU and 1 GPU each"):
        groups_that_fit(Workers((1, 4), use_gpu=True), alive_nodes())
    assert time.monotonic() - since < 5
    assert not list(tmp_path.iterdir())


def test_room_is_counted_in_whole_groups(session: float) -> None:
    cpus = int(session)
    assert groups_that_fit(Workers(cpus), alive_nodes()) == 1
    assert groups_that_fit(Workers(2, cpus_per_worker=cpus / 8), alive_nodes()) == 4
    assert groups_that_fit(Workers((1, cpus * 3)), alive_nodes()) == 1, "fewer than the most is enough to begin"


def test_an_error_of_the_loop_that_is_ours_arrives_as_it_is_and_is_not_tried_again(
    session: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(meeting))
    epochs = []
    with pytest.raises(DivergedError, match=r"^the loss is nan in epoch 3$"):
        for message in group(tmp_path, epochs=5, at=3, how="diverge"):
            epochs.append(message["epoch"])
    assert epochs in ([1], [1, 2]), "the error of one worker may overtake the last message of the other"
    assert len(begun(tmp_path)) == 2
    assert seconds_until_free(session) < 10
    assert not list(meeting.iterdir()), "the folder in which workers meet is removed"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_every_epoch_comes_once(session: float, tmp_path: Path) -> None:
    """Failures with an epoch in between do not count together."""
    run = group(tmp_path, Workers(2, cpus_per_worker=0.5, max_failures=1), epochs=30, sleep_s=0.1)
    epochs = []
    for message in run:
        epochs.append(message["epoch"])
        if epochs[-1] in (5, 15):
            kill_worker(tmp_path, rank=int(epochs[-1] == 15))
    assert epochs == list(range(1, 32))
    assert run.restarts == 2
    assert len(begun(tmp_path)) == 6
    assert seconds_until_free(session) < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "line"), [("raise", "worker 1: ValueError: the toy broke"), ("kill", "worker 1 died: .*OOM killer")]
)
def test_a_failure_that_repeats_ends_the_run_with_the_workers_own_account(
    how: str, line: str, session: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = group(tmp_path, Workers(2, cpus_per_worker=0.5, max_failures=1), epochs=5, at=3, how=how)
    with caplog.at_level(logging.WARNING), pytest.raises(WorkersError, match=line) as caught:
        list(run)
    assert "the workers failed 2 times in a row without a new epoch" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caplog.text.count("are started again") == run.restarts == 1
    if how == "raise":
        assert caught.value.worker_traceback.startswith("Traceback")
        assert "toy_loops.py" in caught.value.worker_traceback
        assert "worker_loop.py" not in caught.value.worker_traceback
    assert len(begun(tmp_path)) == 4
    assert seconds_until_free(session) < 10


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_at_once(session: float, tmp_path: Path) -> None:
    with interruptible():
        for wait_for in (0, 3):  # while the workers start, and while they run
            run = group(tmp_path / str(wait_for), epochs=10_000)
            if wait_for == 0:
                threading.Timer(4, os.kill, (os.getpid(), signal.SIGTERM)).start()
            with pytest.raises(KeyboardInterrupt), run:
                for message in run:
                    if message["epoch"] == wait_for:
                        threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            interruption._state.forget()  # the session goes on here, which it does not elsewhere
            assert seconds_until_free(session) < 10


@pytest.mark.slow
def test_a_consumer_that_is_killed_or_forgets_the_run_leaves_nothing(session: float, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0)
    class Consumer:
        def begin(self, folder: Path, forget: bool) -> int:
            messages = iter(group(folder, epochs=10_000))
            next(messages)
            if not forget:
                self.messages = messages
            return os.getpid()

    for name, forget in (("killed", False), ("forgotten", True)):
        consumer = Consumer.remote()
        pid = ray.get(consumer.begin.remote(tmp_path / name, forget))
        if not forget:
            assert ray.available_resources()["CPU"] < session
            os.kill(pid, signal.SIGKILL)
        assert seconds_until_free(session) < 10
        groups = ray.util.placement_group_table().values()
        assert {one["state"] for one in groups} == {"REMOVED"}


@pytest.mark.slow
def test_closing_while_the_workers_start_frees_all(session: float, tmp_path: Path) -> None:
    run = group(tmp_path, epochs=10_000)
    errors: list[Exception] = []

    def wait() -> None:
        try:
            next(iter(run))
        except Exception as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while ray.available_resources()["CPU"] == session:
        time.sleep(0.05)
    since = time.monotonic()
    run.close()
    run.close()
    seconds_until_free(session)
    assert time.monotonic() - since < 10
    waiting.join()
    assert [type(error) for error in errors] == [WorkersError]


@pytest.mark.slow
def test_a_run_that_was_closed_has_no_more_to_say(session: float, tmp_path: Path) -> None:
    run = group(tmp_path, epochs=10_000, sleep_s=0.2)
    messages = iter(run)
    assert next(messages)["epoch"] == 1
    run.close()
    with pytest.raises(WorkersError, match="the process that carries the workers' messages died"):
        list(messages)
    assert seconds_until_free(session) < 10
