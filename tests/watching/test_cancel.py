"""Ending a study that runs: on this host, on another, and where nobody runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Done, supercm_ray

from supercm_ray.errors import StudyError, SuperCMError
from supercm_ray.records import Session, StudyFolder
from supercm_ray.watching import cancel_study

from .conftest import Driving, write_run

HOST = socket.gethostname()


def cancel(results: Path, *words: str) -> Done:
    return supercm_ray(results.parent, "cancel", "study", *words)


@pytest.mark.parametrize(("host", "by"), [("", "signal"), ("elsewhere", "file")])
def test_the_driver_ends_as_after_sigterm(
    folder: StudyFolder, drive: Driving, results: Path, host: str, by: str
) -> None:
    write_run(folder, 0, "complete")
    process = drive(host)
    done = cancel(results, "--json")
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert (tree["by"], tree["pid"], tree["end"]) == (by, process.pid, "preempted")
    reasons = ["interrupted by SIGTERM"] * (by == "signal") + [f"interrupted by `supercm-ray cancel` on {HOST}"]
    assert tree["reason"] in reasons
    assert tree["runs"] == {"complete": 1}
    assert process.wait(timeout=30) == 143
    assert not (folder.path / "cancel").exists()
    drive(host)  # the next command is not ended by a request to the one before
    assert cancel_study(folder.path, timeout_s=30).end == "preempted"


def test_nobody_at_work_is_one_line(folder: StudyFolder, drive: Driving, results: Path) -> None:
    done = cancel(results)
    assert (done.returncode, done.stdout) == (2, "")
    assert "a process must run the study in" in done.stderr
    process = drive()
    process.kill()
    process.wait(timeout=30)
    done = cancel(results)
    assert done.returncode == 2
    assert f"process {process.pid} on {HOST} has ended, it was killed, and its command goes on with it" in done.stderr
    assert not Path(folder.path / "cancel").read_text(), "nothing is asked of nobody"


def test_another_process_of_the_same_id_is_left_alone(folder: StudyFolder) -> None:
    """Here this test's own process, which SIGTERM would end."""
    mine = Session.begun_here(takes_signals=True)
    folder.write_session(replace(mine, process=f"{mine.process}1"))
    (folder.path / "lock").write_text(f"{mine.host} {mine.pid}")
    with pytest.raises(StudyError, match="it was killed"):
        cancel_study(folder.path, timeout_s=1)


def test_a_process_of_a_user_of_its_own_is_not_signalled(folder: StudyFolder, drive: Driving) -> None:
    """As a notebook that calls `tune`: it has its study ended, and goes on."""
    process = drive()
    folder.write_session(replace(folder.session(), takes_signals=False))
    assert cancel_study(folder.path, timeout_s=60).by == "file"
    process.wait(timeout=30)


def test_an_end_that_does_not_come_is_told(folder: StudyFolder, drive: Driving, results: Path) -> None:
    """And comes later, though the system may hand the signal to a thread that only waits."""
    process = drive()
    os.kill(process.pid, signal.SIGSTOP)
    done = cancel(results, "--timeout", "0.5")
    assert done.returncode == 1
    assert f"process {process.pid} on {HOST} must end within 0.5 s" in done.stderr
    assert "it was asked, and ends as soon as it can" in done.stderr
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 143


def test_one_that_is_killed_meanwhile_has_ended_too(folder: StudyFolder, drive: Driving) -> None:
    process = drive()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(SuperCMError, match="must end within"):
        cancel_study(folder.path, timeout_s=0.2)
    process.kill()
    process.wait(timeout=30)
    with pytest.raises(StudyError, match="it was killed"):
        cancel_study(folder.path, timeout_s=5)
