"""Studies that a process of its own drives, on this host or as on another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supercm_ray.records import RunRecord, StudyFolder

DRIVER = """
import socket, sys, time
from pathlib import Path
host = sys.argv[2]
if host:
    socket.gethostname = lambda: host
from supercm_ray.cli.entry import say_aside
from supercm_ray.execution.interruption import interruptible, own_process
from supercm_ray.execution.lifecycle import driving
from supercm_ray.records import StudyFolder
folder = StudyFolder.existing(Path(sys.argv[1]))
try:
    with own_process(say_aside), interruptible(), driving(folder):
        folder.session_file.note_phase("search", 5, 1)
        print("driving", flush=True)
        time.sleep(120)
except Exception as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""

Driving = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def folder(results: Path) -> StudyFolder:
    made = StudyFolder.open(results, "study", "identity")
    (made.path / "study.yaml").write_text("budget: {num_trials: 8}\n")
    return made


@pytest.fixture
def drive(folder: StudyFolder) -> Iterator[Driving]:
    """Starts a process that drives the study, and waits until it does."""
    started: list[subprocess.Popen[str]] = []

    def start(host: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", DRIVER, str(folder.path), host]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "driving\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def write_run(folder: StudyFolder, number: int, status: str, num_epochs: int = 2, **changes: object) -> None:
    """Writes the record of a trial, which began a minute ago if nothing else is said."""
    key = f"trials/{number:04d}"
    run, began = folder.run(key), int(time.time() * 1000) - 60_000
    record = RunRecord(key, "trial", {}, {"training.num_epochs": 4}, 7, started_ms=began)
    run.write(record)
    for epoch in range(1, num_epochs + 1):
        run.append({"epoch": epoch, "val/accuracy": epoch / 10})
    if status != "running":
        record = record.ended(status, "it diverged" if status == "failed" else "")
    run.write(replace(record, **changes))


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of all files but the one that the driver touches."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
