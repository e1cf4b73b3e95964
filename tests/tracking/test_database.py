"""The creation of MLflow's SQLite database: whole or not at all, by one process, and mended where it was half made."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supercm_ray.errors import TrackingError
from supercm_ray.tracking.mlflow import database
from supercm_ray.tracking.mlflow.place import connect

pytestmark = pytest.mark.filterwarnings("ignore")

HALF_MADE = ("CREATE TABLE experiments (experiment_id INTEGER)", "CREATE TABLE _alembic_tmp_experiments (x INTEGER)")
WITH_A_RUN = (*HALF_MADE, "CREATE TABLE runs (run_uuid TEXT)", "INSERT INTO runs VALUES ('a')")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    """The path of a database to be made, which takes seconds but for the copy that is made here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setattr(database, "_QUIET_S", 0.0)
    monkeypatch.setattr(database, "_create", lambda path: shutil.copy(empty_database, path))
    return tmp_path / "mlflow.db"


def make(path: Path, commands: tuple[str, ...]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        for command in commands:
            made.execute(command)


def test_a_half_made_database_is_set_aside_and_named(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(place, HALF_MADE)
    before = place.read_bytes()
    with caplog.at_level(logging.WARNING):
        client, _ = connect(f"sqlite:///{place}")
    assert "was left half made" in caplog.text
    assert "was moved to mlflow.db.half-made; it holds no run" in caplog.text
    assert len(before) <= len(place.with_name("mlflow.db.half-made").read_bytes())
    assert client.get_experiment_by_name("supercm_ray") is not None


def test_an_empty_file_is_no_database_yet(place: Path) -> None:
    place.touch()
    connect(f"sqlite:///{place}")
    assert [path.name for path in place.parent.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("content", [b"no database" * 99, None])
def test_what_may_hold_runs_is_left_as_it_is(place: Path, content: bytes | None) -> None:
    place.write_bytes(content) if content else make(place, WITH_A_RUN)
    with pytest.raises(TrackingError, match=r"MLflow must be usable at .*; set MLFLOW_TRACKING_URI .* move that file"):
        connect(f"sqlite:///{place}")
    assert [path.name for path in place.parent.iterdir()] == ["mlflow.db"]


BEGIN = """
import sys
from pathlib import Path
from supercm_ray.tracking.mlflow.place import connect
print("ready", flush=True)
sys.stdin.readline()
connect(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
"""


def begin(folder: Path) -> subprocess.Popen[str]:
    """A process that connects when it is told to."""
    words = [sys.executable, "-W", "ignore", "-c", BEGIN]
    made = subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    assert made.stdout.readline() == "ready\n"
    return made


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_at_any_moment_leaves_none_or_a_whole_one(tmp_path: Path, how: signal.Signals) -> None:
    moments = random.Random(0)
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = begin(folder)
        tell(process)
        time.sleep(moments.uniform(0.0, 3.0))
        os.kill(process.pid, how)
        process.wait(timeout=60)
        connect(f"sqlite:///{folder / 'mlflow.db'}")
        assert [path.name for path in folder.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_four_commands_at_once_make_one(tmp_path: Path) -> None:
    processes = [begin(tmp_path) for _ in range(4)]
    for process in processes:
        tell(process)
    assert [process.wait(timeout=180) for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
