"""The lock of a study: never two drivers, whatever the file system says, and no lock that stays for ever."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from supercm_ray.errors import StorageError, StudyError
from supercm_ray.records import StudyFolder, lock
from supercm_ray.records.session import process_identity

HOST = socket.gethostname()
HOLDER = """
import errno, fcntl, os, sys, time
from pathlib import Path
from supercm_ray.records import StudyFolder
if len(sys.argv) > 2:
    own = fcntl.flock
    def flock(file, how):
        if file.name.endswith("lock") and "supercm-" not in file.name:
            raise OSError(int(sys.argv[2]), "no locks here")
        own(file, how)
    fcntl.flock = flock
with StudyFolder.existing(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(120)
"""
NO_LOCKS = [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS]


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path, "study", "identity")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, beside the temporary folder of this host, which has them."""
    refuse(monkeypatch, errno.ENOLCK)


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    own = fcntl.flock

    def flock(file, how: int) -> None:
        if Path(file.name).name == "lock":
            raise OSError(code, os.strerror(code))
        own(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)


def hold(folder: StudyFolder, *code: int) -> subprocess.Popen[str]:
    """A process that holds the study, where the file system answers with an error of this code."""
    command = [sys.executable, "-c", HOLDER, str(folder.path), *map(str, code)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def held(folder: StudyFolder) -> None:
    with folder.lock():
        pass


@pytest.mark.parametrize("code", NO_LOCKS)
def test_without_locks_a_file_stands_for_one(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    refuse(monkeypatch, code)
    with folder.lock():
        text = (folder.path / "lock.held").read_text()
        assert text == f"{HOST} {os.getpid()} {process_identity(os.getpid())}"
        with pytest.raises(StudyError, match=f"has no locks, got process {os.getpid()} on {HOST} as its holder"):
            held(folder)
    assert not (folder.path / "lock.held").exists()
    held(folder)


def test_another_error_of_the_disk_is_told(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EIO)
    with pytest.raises(StorageError, match="lock must be written, got: Input/output error"):
        held(folder)


def test_a_killed_holder_on_this_host_is_followed(folder: StudyFolder, no_locks: None) -> None:
    with hold(folder, errno.ENOLCK) as process:
        with pytest.raises(StudyError, match=f"got process {process.pid} on {HOST} as its holder, last seen . s ago"):
            held(folder)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        held(folder)


def test_a_holder_of_another_host_is_never_followed(folder: StudyFolder, no_locks: None) -> None:
    file = folder.path / "lock.held"
    file.write_text(f"elsewhere {os.getpid()} boot:pid:[1]:5")
    with pytest.raises(StudyError, match=f"process {os.getpid()} on elsewhere .* remove {file}, then give the same"):
        held(folder)
    file.unlink()
    held(folder)


def test_another_namespace_of_this_host_is_never_followed(folder: StudyFolder, no_locks: None) -> None:
    """Containers may share the name of their host, and not its processes."""
    (folder.path / "lock.held").write_text(f"{HOST} 999999 {process_identity(os.getpid()).replace('[', '[9')}")
    with pytest.raises(StudyError, match="remove"):
        held(folder)


def test_an_id_used_again_is_no_holder(folder: StudyFolder, no_locks: None) -> None:
    identity = process_identity(os.getpid())
    (folder.path / "lock.held").write_text(f"{HOST} {os.getpid()} {identity}1")
    held(folder)


def test_a_holder_without_locks_keeps_out_one_with_locks(folder: StudyFolder) -> None:
    """As where the folder is mounted in different ways."""
    with hold(folder, errno.ENOLCK) as process:
        try:
            with pytest.raises(StudyError, match=f"got process {process.pid}"):
                held(folder)
        finally:
            process.kill()


def test_one_of_many_takes_over(folder: StudyFolder, no_locks: None) -> None:
    with hold(folder, errno.ENOLCK) as process:
        process.kill()
        process.wait(timeout=30)
    at_work, most, refused = [], [], []

    def take() -> None:
        try:
            with folder.lock():
                at_work.append(1)
                most.append(len(at_work))
                time.sleep(0.1)
                at_work.pop()
        except StudyError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 8


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "_WATCHED_S", 0.5)


def test_a_lock_that_holds_on_each_host_alone_is_noticed(folder: StudyFolder, fast: None) -> None:
    """Lustre and NFS may be mounted so: the lock is given, and another host's holder goes on beating."""
    file = folder.path / "lock"
    file.write_text("elsewhere 77")
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.1):
            os.utime(file)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(StudyError, match="got process 77 on elsewhere at work, though the file system gave its"):
            held(folder)
    finally:
        ended.set()
        thread.join()
    with folder.lock():
        assert file.read_text() == f"{HOST} {os.getpid()}", "of a host that was lost, it is taken"
    assert file.read_text() == ""


def test_the_holder_shows_that_it_lives(folder: StudyFolder, fast: None) -> None:
    assert lock.sign_of_life_s(folder.path, HOST, os.getpid()) is None
    with folder.lock():
        file = folder.path / "lock"
        os.utime(file, (5, 5))
        until = time.monotonic() + 20
        while file.stat().st_mtime < 10:
            assert time.monotonic() < until
            time.sleep(0.02)
        seen_s = lock.sign_of_life_s(folder.path, HOST, os.getpid())
        assert seen_s is not None and seen_s < 5
        assert lock.sign_of_life_s(folder.path, HOST, os.getpid() + 1) is None
        assert lock.sign_of_life_s(folder.path, "elsewhere", os.getpid()) is None
    assert lock.sign_of_life_s(folder.path, HOST, os.getpid()) is None
