"""What happened in a study, from its log and its records."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Done, supercm_ray
from studies import Place

from supercm_ray.execution import study_log
from supercm_ray.execution.study_log import logged, note
from supercm_ray.records import LogEntry, StudyFolder
from supercm_ray.records.study_log import read_entries
from supercm_ray.watching import read_events

from .conftest import Driving, write_run

logger = logging.getLogger("supercm_ray.tests")


def logs(results: Path, *words: str) -> Done:
    return supercm_ray(results.parent, "logs", "study", *words)


def test_a_study_tells_what_happened(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(budget={"num_trials": 3}, num_seeds=1, tracking="none")
    place.tune_here()
    events = list(read_events(place.folder.path))
    assert [event.time_ms for event in events] == sorted(event.time_ms for event in events)
    assert events[0].text.startswith(f"process {os.getpid()} on ")
    assert [event.text.partition(":")[0] for event in events if event.kind == "phase"] == ["search", "finalists"]
    assert events[-1].text == "ends: complete"
    for run in place.folder.views():
        key = run.record.key
        of_run = [event for event in events if event.key == key]
        assert [event.text for event in of_run if event.kind == "run"] == ["begins", run.record.how]
        assert [event.metrics["epoch"] for event in of_run if event.kind == "epoch"] == [
            metrics["epoch"] for metrics in run.history
        ]
        assert list(read_events(place.folder.path, key=key)) == of_run
    (place.folder.path / "log.txt").unlink()
    left = [event for event in read_events(place.folder.path) if event.kind in ("run", "epoch")]
    assert {(one.key, one.text) for one in left} == {
        (one.key, one.text) for one in events if one.kind in ("run", "epoch")
    }


def test_failures_come_with_their_traceback(folder: StudyFolder, results: Path) -> None:
    write_run(folder, 3, "failed")
    folder.run("trials/0003").save_traceback("Traceback (most recent call last):\n  File x\nValueError: [bold]bad[/]")
    write_run(folder, 4, "complete")
    shown = logs(results).stdout
    assert "failure: trials/0003 Traceback (most recent call last):\n  File x\nValueError: [bold]bad[/]\n" in shown
    assert "trials/0003 failed: it diverged" in shown
    assert "\x1b[" not in shown
    alone = logs(results, "--trial", "4").stdout
    assert {line.split()[1] for line in alone.splitlines()} == {"trials/0004"}
    assert "epoch 2: val/accuracy 0.2" in alone
    for line in logs(results, "--json").stdout.splitlines():
        assert json.loads(line)["kind"] in ("run", "epoch", "failure")


def test_damaged_records_are_named_and_left_out(folder: StudyFolder, results: Path) -> None:
    for number in (0, 1):
        write_run(folder, number, "complete")
    (folder.path / "trials/0000/run.json").write_text("{")
    done = logs(results)
    assert done.returncode == 0
    assert "damaged: trials/0000" in done.stdout
    assert "trials/0001 complete" in done.stdout


def test_warnings_are_kept_without_credentials(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(folder):
        logger.warning("no answer from http://user:topsecret@host\nsecond line")
        note(folder, "phase", "search: 3 runs")
        logger.info("nothing of interest")
        try:
            raise ValueError("inner")
        except ValueError:
            logger.exception("failed")
    logger.warning("after its end")
    text = (folder.path / "log.txt").read_text()
    assert "topsecret" not in text
    entries = list(read_entries(text))
    assert [(entry.kind, entry.text.splitlines()[0]) for entry in entries] == [
        ("warning", "no answer from http://***@host"),
        ("phase", "search: 3 runs"),
        ("error", "failed"),
    ]
    assert entries[0].text.endswith("\nsecond line")
    assert entries[2].text.endswith("ValueError: inner")


def test_warnings_are_still_shown(tmp_path: Path) -> None:
    code = """
import logging, sys
from pathlib import Path
from supercm_ray.execution.study_log import logged, note
from supercm_ray.records import StudyFolder
folder = StudyFolder.open(Path(sys.argv[1]), "study", "identity")
with logged(folder):
    logging.getLogger("supercm_ray.x").warning("seen")
    note(folder, "phase", "unseen")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "seen\n"


def test_the_log_is_bounded_and_read_across_its_bound(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_log, "_LARGEST", 2000)
    with logged(folder):
        for number in range(200):
            note(folder, "phase", f"phase {number}")
    sizes = [path.stat().st_size for path in folder.path.glob("log.txt*")]
    assert len(sizes) == 2
    assert max(sizes) <= 2000
    texts = [event.text for event in read_events(folder.path)]
    assert texts == [f"phase {number}" for number in range(200 - len(texts), 200)]
    assert len(texts) > 40


def test_entries_survive_what_is_cut_off() -> None:
    entries = [
        LogEntry(1_700_000_000_123, "warning", "one\n  indented\nlast"),
        LogEntry(1_700_000_000_124, "run", "a b"),
    ]
    text = "\n".join(map(str, entries))
    assert list(read_entries(text)) == entries
    assert list(read_entries(f"    of an entry before\nrubbish\n{text}")) == entries


def test_following_ends_with_the_driver(folder: StudyFolder, drive: Driving, results: Path) -> None:
    process = drive()
    command = [sys.executable, "-m", "supercm_ray.cli", "logs", "study", "-f"]
    with subprocess.Popen(command, cwd=results.parent, stdout=subprocess.PIPE, text=True) as follower:
        assert f"process {process.pid}" in follower.stdout.readline()
        write_run(folder, 0, "running", 1)
        assert "trials/0000 begins" in follower.stdout.readline()
        assert "trials/0000 epoch 1: val/accuracy 0.1" in follower.stdout.readline()
        process.terminate()
        rest = follower.communicate(timeout=60)[0]
    assert "command: ends preempted: interrupted by SIGTERM" in rest
    assert follower.returncode == 0


def test_following_ends_with_its_reader(folder: StudyFolder, drive: Driving, results: Path) -> None:
    drive()
    command = [sys.executable, "-m", "supercm_ray.cli", "logs", "study", "-f"]
    with subprocess.Popen(command, cwd=results.parent, stdout=subprocess.PIPE, text=True) as follower:
        follower.stdout.readline()
        follower.stdout.close()
        write_run(folder, 0, "running", 1)
        assert follower.wait(timeout=60) == 0


def test_a_log_that_cannot_be_written_ends_nothing(folder: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.path / "log.txt").mkdir()
    with logged(folder):
        note(folder, "phase", "search: 3 runs")
    assert capsys.readouterr() == ("", "")
