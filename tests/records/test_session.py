"""The note of who runs a study."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from supercm_ray.errors import DamagedError
from supercm_ray.records import Session, SessionNode, StudyFolder
from supercm_ray.records.session import is_running_here, process_identity

NODES = (
    SessionNode("a", "10.0.0.1", 4.0, 1.0),
    SessionNode("b", "10.0.0.2", 4.0, 0.0, "left out", "the package is another version"),
)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path, "study", "identity")


def test_a_session_is_read_as_it_was_written(folder: StudyFolder) -> None:
    assert folder.session() is None
    begun = Session.begun_here()
    folder.write_session(begun)
    assert folder.session() == begun
    folder.update_session(where="Ray 2.60 at http://user:topsecret@10.0.0.1: 2 nodes", nodes=NODES)
    folder.update_session(where="Ray 2.60 at http://***@10.0.0.1: 3 nodes")
    assert folder.session() == replace(begun, where="Ray 2.60 at http://***@10.0.0.1: 3 nodes", nodes=NODES)
    folder.session_file.end("preempted", "SIGTERM")
    folder.session_file.end("failed: what followed from it")
    session = folder.session()
    assert (session.end, session.reason, session.nodes) == ("preempted", "SIGTERM", NODES)
    assert session.ended_ms >= begun.started_ms > 1.6e12
    assert folder.session_file.was_preempted()


def test_no_update_is_lost_between_threads(folder: StudyFolder) -> None:
    folder.write_session(Session.begun_here())
    threads = [threading.Thread(target=folder.update_session, kwargs={"nodes": NODES[:1]}) for _ in range(20)]
    threads += [threading.Thread(target=folder.update_session, kwargs={"where": "here"}) for _ in range(20)]
    for thread in threads:
        thread.start()
    folder.session_file.end("complete")
    for thread in threads:
        thread.join()
    session = folder.session()
    assert (session.where, session.nodes, session.end) == ("here", NODES[:1], "complete")


@pytest.mark.parametrize(
    "text",
    [
        '{"host": "a", "pid": 1, "nodes": 5}',
        '{"host": "a"}',
        '{"host": "a", "pid": "x"}',
        '{"host": "a", "pid": 1, "nodes": [{"name": "b", "state": "lost"}]}',
        '{"host": "a", "pid": 1, "digest": "0"}',
        "[]",
        "{",
    ],
)
def test_a_damaged_session_is_one_line(folder: StudyFolder, text: str) -> None:
    (folder.path / "session.json").write_text(text)
    with pytest.raises(DamagedError, match=r"session\.json must be as it was written, got .*; remove it"):
        folder.session()
    assert not folder.session_file.was_preempted()
    folder.write_session(Session.begun_here())
    assert folder.session() is not None, "a driver writes it anew"


def test_a_process_is_told_from_others_of_its_id() -> None:
    host, here = socket.gethostname(), process_identity(os.getpid())
    assert is_running_here(host, os.getpid(), here)
    assert is_running_here(host, os.getpid(), "")
    assert not is_running_here(host, os.getpid(), f"{here}1")
    assert not is_running_here("elsewhere", os.getpid(), here)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_identity(process.pid)
    assert is_running_here(host, process.pid, identity)
    process.kill()
    while is_running_here(host, process.pid, identity):  # a zombie has ended
        pass
    process.wait()
    process.stdin.close()
    assert not is_running_here(host, process.pid, "")
