"""What a study leaves on disk, whatever happens while it is written."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from supercm_ray.errors import DamagedError, StorageError, StudyError
from supercm_ray.records import RunFolder, RunRecord, StudyFolder, write_atomically
from supercm_ray.records.digests import write_line

HOST = socket.gethostname()
HOLDER = """
import sys, time
from pathlib import Path
from supercm_ray.records import StudyFolder
with StudyFolder.existing(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path, "study", "identity")


@pytest.fixture
def run(folder: StudyFolder) -> RunFolder:
    run = folder.run("trials/0000")
    run.write(record())
    return run


def record(key: str = "trials/0000", kind: str = "trial") -> RunRecord:
    return RunRecord(
        key=key,
        kind=kind,
        overrides={"algorithm.temperature": 2.0},
        params={"seed": 0, "model.options.channels": [4, 8]},
        label_budget=7,
        started_ms=5,
    )


@pytest.mark.parametrize("num_epochs", [1, 3, 2000])
def test_an_epoch_is_appended_without_reading_those_before(
    run: RunFolder, num_epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = ""
    with (run.path / "metrics.jsonl").open("w") as file:
        for epoch in range(1, num_epochs + 1):
            line = write_line({"epoch": epoch, "val/accuracy": epoch / 7}, run.key, digest)
            digest = json.loads(line)["digest"]
            file.write(line + "\n")
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "_text", lambda self: pytest.fail("it reads the whole history"))
        assert run.append({"epoch": num_epochs + 1, "val/accuracy": 0.5})
        latest = run.latest()
    assert latest is not None and latest.history[-1]["epoch"] == num_epochs + 1
    assert latest.history == run.history()[-len(latest.history) :]
    assert len(latest.history) < 1000
    assert len(run.history()) == num_epochs + 1, "the chain of digests is whole"


def epochs(run: RunFolder) -> list[int]:
    return [int(metrics["epoch"]) for metrics in run.history()]


def test_a_record_is_read_as_it_was_written(run: RunFolder) -> None:
    assert run.record() == record()
    ended = record().ended("pruned", "stopped early", {"test/accuracy": 0.5})
    run.write(ended)
    assert run.record() == ended
    assert (ended.status, ended.reason, ended.summary) == ("pruned", "stopped early", {"test/accuracy": 0.5})
    assert ended.ended_ms is not None
    assert record().ended_ms is None


def test_there_is_no_record_before_the_first(folder: StudyFolder) -> None:
    run = folder.run("trials/0009")
    assert run.record() is None
    assert run.history() == []
    assert run.num_epochs() == 0
    assert not run.path.exists()


def test_an_epoch_is_added_once(run: RunFolder) -> None:
    assert run.append({"epoch": 1, "val/accuracy": 0.5})
    assert run.append({"epoch": 2, "val/accuracy": 0.6})
    for epoch in (1, 2):
        assert not run.append({"epoch": epoch, "val/accuracy": 0.9})
    assert run.append({"epoch": 3.0, "val/accuracy": 0.7})
    assert [metrics["val/accuracy"] for metrics in run.history()] == [0.5, 0.6, 0.7]
    assert run.num_epochs() == 3
    stamps = [metrics["timestamp_ms"] for metrics in run.history()]
    assert stamps == sorted(stamps)
    assert stamps[0] > 1.6e12, "milliseconds since 1970"


@pytest.mark.parametrize("garbage", ['{"epoch": 3, "val/acc', "{", '{"epoch": 3}', "\x00\x00"])
def test_an_unfinished_line_is_cut_off_and_the_file_repaired(run: RunFolder, garbage: str) -> None:
    for epoch in (1, 2):
        run.append({"epoch": epoch})
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + garbage.encode())
    assert epochs(run) == [1, 2]
    assert path.read_bytes() == whole + garbage.encode(), "reading changes nothing, another process may be writing"
    assert run.append({"epoch": 3})
    assert epochs(run) == [1, 2, 3]
    assert path.read_bytes().startswith(whole)
    assert len(path.read_bytes().splitlines()) == 3


def test_a_file_that_is_an_unfinished_line_alone_is_emptied(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_text('{"epoch"')
    assert run.append({"epoch": 1})
    assert epochs(run) == [1]


def test_text_is_replaced_whole_and_nothing_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "a long first text")
    write_atomically(path, "second é")
    assert path.read_text(encoding="utf-8") == "second é"
    assert [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_a_failure_while_writing_leaves_the_former_text(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "former")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "x" * 100_000 + "\ud800")  # a lone surrogate cannot be encoded
    assert path.read_text() == "former"


def test_runs_are_found_by_kind_and_in_order(folder: StudyFolder) -> None:
    for key, kind in (("trials/0001", "trial"), ("finalists/a", "finalist"), ("trials/0000", "trial")):
        folder.run(key).write(record(key, kind))
    assert [each.key for each in folder.runs()] == ["finalists/a", "trials/0000", "trials/0001"]
    assert [each.key for each in folder.runs("trial")] == ["trials/0000", "trials/0001"]
    assert folder.runs("train") == []


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        ("s3://bucket/runs/", "s3://bucket/runs/{id}/trials/0001"),
        ("s3://bucket/runs?region=eu&scheme=http", "s3://bucket/runs/{id}/trials/0001?region=eu&scheme=http"),
    ],
)
def test_each_run_has_a_place_of_its_own_below_a_uri(folder: StudyFolder, storage: str, place: str) -> None:
    assert folder.storage("trials/0001", storage) == place.format(id=folder.study_id)


def test_a_study_is_opened_again_under_its_id(tmp_path: Path) -> None:
    first = StudyFolder.open(tmp_path / "results", "study", "identity")
    assert StudyFolder.open(tmp_path / "results", "study", "identity") == first
    assert StudyFolder.existing(tmp_path / "results" / "study") == first
    assert StudyFolder.open(tmp_path / "results", "other", "identity").study_id != first.study_id


def test_another_identity_is_refused_and_changes_nothing(folder: StudyFolder, tmp_path: Path) -> None:
    before = (folder.path / "study.json").read_bytes()
    with pytest.raises(StudyError, match="another `name`, or move that folder away") as caught:
        StudyFolder.open(tmp_path, "study", "another")
    assert str(folder.path) in str(caught.value)
    assert (folder.path / "study.json").read_bytes() == before


def test_a_study_not_begun_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="run `supercm-ray tune` first") as caught:
        StudyFolder.existing(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)
    assert not (tmp_path / "none").exists()


def hold(folder: StudyFolder) -> subprocess.Popen[str]:
    """A process that holds the study."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(folder: StudyFolder) -> None:
    with hold(folder) as process:
        try:
            with pytest.raises(StudyError, match=f"process {process.pid} on {HOST} at work; wait for it, or end it"):
                with folder.lock():
                    pytest.fail("two processes hold the study")
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
            with folder.lock():
                assert (folder.path / "lock").read_text() == f"{HOST} {os.getpid()}"
        finally:
            process.kill()


def test_the_lock_is_released_however_the_block_ends(folder: StudyFolder) -> None:
    with pytest.raises(KeyboardInterrupt):
        with folder.lock():
            with pytest.raises(StudyError, match=f"process {os.getpid()} on {HOST} at work"):
                with folder.lock():
                    pytest.fail("held twice")
            raise KeyboardInterrupt
    with folder.lock():
        assert json.loads((folder.path / "study.json").read_text())["identity"] == "identity"


def ended_run(folder: StudyFolder) -> RunFolder:
    """A run of three epochs that has ended."""
    run = folder.run("trials/0001")
    run.write(record(run.key))
    for epoch in (1, 2, 3):
        run.append({"epoch": epoch, "val/accuracy": epoch / 10})
    run.write(record(run.key).ended("complete"))
    return run


LINES = {
    "shortened": lambda lines: lines[:-1],
    "emptied": lambda lines: [],
    "a line less": lambda lines: [lines[0], lines[2]],
    "a line changed": lambda lines: [lines[0], lines[1].replace("0.2", "0.9"), lines[2]],
    "a line without its digest": lambda lines: [lines[0], '{"epoch": 2, "val/accuracy": 0.9}', lines[2]],
    "in another order": lambda lines: [lines[1], lines[0], lines[2]],
    "a broken line": lambda lines: [lines[0], lines[1][:9], lines[2]],
}


@pytest.mark.parametrize("how", LINES)
def test_metrics_of_an_ended_run_are_whole_or_refused(folder: StudyFolder, how: str) -> None:
    run = ended_run(folder)
    assert epochs(run) == [1, 2, 3]
    path = run.path / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in LINES[how](path.read_text().splitlines())))
    for read in (run.history, run.view):
        with pytest.raises(DamagedError, match=r"metrics\.jsonl must be as it was written, got .*; put it back"):
            read()


def test_metrics_of_another_run_are_refused(folder: StudyFolder) -> None:
    run, other = ended_run(folder), folder.run("trials/0002")
    other.write(record(other.key))
    (other.path / "metrics.jsonl").write_bytes((run.path / "metrics.jsonl").read_bytes())
    assert epochs(other) == [], "an open run has them in its checkpoint"
    other.write(record(other.key).ended("complete"))
    with pytest.raises(DamagedError, match="in line 1"):
        other.history()


def test_an_open_run_records_damaged_epochs_again(folder: StudyFolder, caplog: pytest.LogCaptureFixture) -> None:
    run = ended_run(folder)
    run.write(record(run.key))
    path = run.path / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.2", "0.9"))
    assert epochs(run) == [1]
    run.cut_damaged_lines()  # as a run is begun again
    for epoch in (1, 2, 3):
        run.append({"epoch": epoch, "val/accuracy": epoch / 10})
    assert [metrics["val/accuracy"] for metrics in run.history()] == [0.1, 0.2, 0.3]
    assert "the epochs from there on are recorded again" in caplog.text


def test_an_altered_record_is_refused(folder: StudyFolder) -> None:
    run = ended_run(folder)
    path = run.path / "run.json"
    path.write_text(path.read_text().replace('"label_budget": 7', '"label_budget": 8'))
    with pytest.raises(DamagedError, match=r"run\.json must be as it was written, got other values"):
        folder.runs()


def test_records_of_earlier_versions_are_read(folder: StudyFolder) -> None:
    run = folder.run("trials/0001")
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_text(json.dumps(asdict(record(run.key).ended("complete"))))
    (run.path / "metrics.jsonl").write_text('{"epoch": 1, "val/accuracy": 0.5, "timestamp_ms": 5}\n')
    assert run.view() is not None
    assert epochs(run) == [1]
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(DamagedError, match="0 epochs of at least 1"):
        run.view()


@pytest.mark.parametrize("key", ["../../etc", "/etc/x", "trials/../../x", "trials/0002"])
def test_a_key_leads_nowhere_else(folder: StudyFolder, key: str) -> None:
    """A record that was copied from elsewhere may name any place, which would be written to or emptied."""
    run = ended_run(folder)
    (run.path / "run.json").write_text(json.dumps(asdict(record(key).ended("complete"))))
    with pytest.raises(DamagedError, match=r"run\.json must be as it was written, got the key"):
        folder.views()
    if ".." in key or key.startswith("/"):
        with pytest.raises(DamagedError, match="a run with the key"):
            folder.run(key)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EROFS, "give access to it"),
        (errno.EIO, "see that the folder is there"),
    ],
)
def test_what_the_disk_says_is_one_line(
    folder: StudyFolder, code: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match=f"study must be written, got: {os.strerror(code)}; {remedy}") as caught:
        write_atomically(folder.path, "x")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(StudyError, match=remedy):
        StudyFolder.open(folder.path.parent, "another", "identity")
    assert not list(folder.path.parent.glob("**/.*")), "nothing stays behind"


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_results_that_are_no_folder_are_refused(tmp_path: Path, kind: str) -> None:
    results = tmp_path / "results"
    results.touch() if kind == "file" else results.symlink_to(tmp_path / "gone")
    with pytest.raises(StudyError, match=r"must be (written|read), got: .*; .*another folder with --results"):
        StudyFolder.open(results, "study", "identity")
