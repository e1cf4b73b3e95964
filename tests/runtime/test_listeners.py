"""What listens for Ray on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supercm_ray.runtime.listeners import Listener, has_token, ray_listeners

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0
   2: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0
   3: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0400 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 21 1
   1: 0000000000000000FFFF00000100007F:0401 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 22 1
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A system with Ray's head, whose raylet asks for a token, and a secure shell."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    (tmp_path / "net" / "tcp6").write_text(TCP6)
    process(tmp_path, 1, b"/usr/sbin/sshd\0-D", 14)
    process(tmp_path, 2, b"/x/ray/core/src/ray/gcs/gcs_server\0--gcs", 11, 12, 13)
    process(tmp_path, 3, b"/x/ray/core/src/ray/raylet/raylet\0--gcs-address=10.0.0.1:6379", 21, 22)
    return tmp_path


def process(proc: Path, pid: int, command: bytes, *inodes: int, environ: bytes = b"A=1\0RAY_AUTH_MODE=token\0") -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(command)
    (folder / "environ").write_bytes(environ)
    for inode in inodes:
        (folder / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")


def test_listeners_of_ray_are_told_from_others(proc: Path) -> None:
    found = ray_listeners(proc)
    assert found == [
        Listener("gcs_server", "0.0.0.0", 0x18EB),
        Listener("gcs_server", "127.0.0.1", 8080),
        Listener("raylet", "127.0.0.1", 1025),
        Listener("raylet", "::", 1024),
    ]
    assert [str(one) for one in found if one.is_open] == ["gcs_server *:6379", "raylet *:1024"]


@pytest.mark.parametrize(
    ("environ", "found"), [(b"RAY_AUTH_MODE=disabled\0", False), (b"RAY_AUTH_MODE=token\0", True), (b"A=1\0", None)]
)
def test_the_mode_of_the_cluster_is_known(tmp_path: Path, environ: bytes, found: bool | None) -> None:
    process(tmp_path, 1, b"/x/raylet\0--gcs-address=10.0.0.9:1", environ=b"RAY_AUTH_MODE=token\0")
    process(tmp_path, 2, b"/x/raylet\0--gcs-address=10.0.0.1:6379", environ=environ)
    assert has_token("10.0.0.1:6379", tmp_path) is found
    assert has_token("10.0.0.2:6379", tmp_path) is None


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of a process that calls itself a part of Ray."""
    code = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "/ray/dashboard"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout
        yield int(started.stdout.readline())
        started.communicate("\n")


def test_a_real_process_is_found(listening: int) -> None:
    assert Listener("dashboard", "0.0.0.0", listening) in ray_listeners()
