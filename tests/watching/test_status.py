"""How studies stand, as seen while they run, after a kill, on another host, and where files are damaged."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Done, supercm_ray

from supercm_ray.records import Session, SessionNode, StudyFolder
from supercm_ray.watching import driver as driver_module
from supercm_ray.watching import read_status

from .conftest import Driving, snapshot, write_run

HOST = socket.gethostname()


def status(results: Path, *words: str) -> Done:
    return supercm_ray(results.parent, "status", *words)


def test_a_running_study_is_seen_and_not_disturbed(folder: StudyFolder, drive: Driving, results: Path) -> None:
    write_run(folder, 0, "complete", 4)
    process = drive()
    write_run(folder, 1, "running")
    write_run(folder, 2, "failed")
    folder.update_session(where="Ray 2.60 at 10.0.0.1", nodes=[SessionNode("a", "10.0.0.1", 4.0, 1.0)])
    before = snapshot(results)
    found = read_status(folder.path)
    assert (found.state, found.command, found.num_trials) == ("running", "tune", 8)
    assert (found.driver.pid, found.driver.host, found.driver.state) == (process.pid, HOST, "running")
    assert found.runs == {"trials": {"complete": 1, "failed": 1, "running": 1}}
    assert (found.progress.phase, found.progress.done, found.progress.total) == ("search", 2, 5)
    assert found.progress.per_hour > 0
    assert found.progress.left_s == pytest.approx(3600 * (5 - 2.5) / found.progress.per_hour)
    assert (found.last_error.place, found.last_error.reason) == ("trials/0002", "it diverged")
    shown = status(results, "study").stdout
    for text in ("1 complete, 1 failed, 1 running, 5 to begin", "Ray 2.60 at 10.0.0.1", "a 10.0.0.1: 4 CPU, 1 GPU"):
        assert text in shown
    assert f"{process.pid} on {HOST}, running, seen 0:0" in shown
    assert snapshot(results) == before, "nothing was changed"


def test_a_killed_study_is_told_from_a_running_one(folder: StudyFolder, drive: Driving, results: Path) -> None:
    process = drive()
    write_run(folder, 0, "running")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    found = read_status(folder.path)
    assert (found.state, found.driver.state, found.runs) == ("killed", "killed", {"trials": {"open": 1}})
    assert found.progress.left_s is None
    assert "resume   -c " in status(results, "study").stdout


def test_an_ended_study_says_how(folder: StudyFolder, drive: Driving, results: Path) -> None:
    process = drive()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 75
    found = read_status(folder.path)
    assert (found.state, found.reason, found.driver.state) == ("preempted", "interrupted by SIGUSR1", "ended")
    assert "state    preempted, interrupted by SIGUSR1, 0:0" in status(results, "study").stdout


def test_another_host_is_known_by_its_signs_of_life(
    folder: StudyFolder, drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = drive("elsewhere")
    found = read_status(folder.path)
    assert (found.state, found.driver.host, found.driver.pid) == ("running", "elsewhere", process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    monkeypatch.setattr(driver_module, "SILENT_S", 0.5)
    until = time.monotonic() + 30
    while read_status(folder.path).state == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    found = read_status(folder.path)
    assert (found.state, found.driver.state) == ("silent", "silent")
    assert found.driver.seen_s > 0.5


DAMAGE = {
    "trials/0000/run.json": '{"key": "trials/0000"',
    "trials/0001/metrics.jsonl": "{",
    "session.json": "[]",
    "study.json": "{}",
    "study.yaml": "budget: [",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_broken_study_breaks_no_other(folder: StudyFolder, results: Path, name: str) -> None:
    for number in (0, 1):
        write_run(folder, number, "complete")
    folder.write_session(Session.begun_here())
    whole = StudyFolder.open(results, "whole", "identity")
    write_run(whole, 0, "complete")
    (folder.path / name).write_text(DAMAGE[name])
    done = status(results)
    assert done.returncode == 0, done.stderr
    assert "1 damaged, see `supercm-ray status study`" in done.stdout
    assert "results/whole: unknown, trials 1 complete\n" in done.stdout
    one = status(results, "study")
    assert one.returncode == 0, one.stderr
    (line,) = [line for line in one.stdout.splitlines() if line.startswith("damaged")]
    assert Path(name).name in line


def test_json_holds_the_same(folder: StudyFolder, results: Path) -> None:
    write_run(folder, 0, "failed", 1)
    StudyFolder.open(results / "train", "one-1234", "identity")
    StudyFolder.open(results / "scale", "one-strong-1234", "identity")
    tree = json.loads(status(results, "study", "--json").stdout)
    assert tree["runs"] == {"trials": {"failed": 1}}
    assert tree["last_error"]["reason"] == "it diverged"
    many = json.loads(status(results, "--json").stdout)
    assert [(one["name"], one["command"]) for one in many] == [
        ("study", "tune"),
        ("one-1234", "train"),
        ("one-strong-1234", "scale"),
    ]


def test_a_study_is_found_by_name_folder_and_file(folder: StudyFolder, results: Path) -> None:
    (results.parent / "file.yaml").write_text("name: study\n")
    StudyFolder.open(results / "train", "one-1234", "identity")
    for named in ("study", "results/study", str(folder.path), "file.yaml"):
        assert "study (tune)" in status(results, named).stdout
    assert "one-1234 (train)" in status(results, "one").stdout
    done = status(results, "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a study to look at must be a folder, or the name of one in results, got none for 'other'" in done.stderr
    nowhere = supercm_ray(results.parent, "status", "--results", "nowhere").stdout
    assert nowhere == "no study has been begun in nowhere\n"


def test_it_starts_without_what_is_heavy(folder: StudyFolder, results: Path) -> None:
    code = (
        "import sys; from supercm_ray.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('ray', 'mlflow', 'torch', 'optuna', 'pandas') if m in sys.modules])"
    )
    for verb in ("status", "logs", "cancel"):
        command = [sys.executable, "-c", code, verb, "study"]
        done = subprocess.run(command, cwd=results.parent, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr
