"""Output that nobody reads, or that the terminal cannot show: training goes on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supercm_ray.cli.output import _outliving, keep_going

STUDY = """\
base:
  data: {name: digits, label_ratio: 0.05}
  training: {num_epochs: 40, steps_per_epoch: 40}
  model: {name: mlp, options: {channels: [16]}}
tracking: none
"""


def test_what_a_closed_pipe_does_not_take_is_dropped() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as stream:
        outliving = _outliving(stream, stream)
        print("read", file=outliving, flush=True)
        assert os.read(reader, 9) == b"read\n"
        os.close(reader)
        for _ in range(2):
            print("dropped", file=outliving, flush=True)
        assert _outliving(sys.stdout, None) is sys.stdout, "what a program has put in its place is left"


def test_what_an_encoding_lacks_is_shown_in_plain_characters() -> None:
    keep_going()
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as stream, os.fdopen(reader, "rb") as shown:
        print("91.0 ± 0.3 – größer", file=_outliving(stream, stream), flush=True)
        assert shown.readline() == b"91.0 +- 0.3 - gr??er\n"


def start(folder: Path, **given: object) -> subprocess.Popen[bytes]:
    (folder / "s.yaml").write_text(STUDY)
    words = [sys.executable, "-m", "supercm_ray.cli", "train", "s.yaml"]
    return subprocess.Popen(words, cwd=folder, **given)  # type: ignore[call-overload,no-any-return]


def num_epochs(folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.rglob("metrics.jsonl"))


def wait_for_epochs(folder: Path) -> None:
    until = time.monotonic() + 120
    while num_epochs(folder) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_closed_pipe_and_errors_for_warnings_do_not_matter(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "LC_ALL": "POSIX", "PYTHONUTF8": "0"}
    environment |= {"PYTHONCOERCECLOCALE": "0"}
    process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    wait_for_epochs(tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    assert num_epochs(tmp_path) == 40


@pytest.mark.slow
def test_a_terminal_that_is_closed_does_not_matter(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = start(tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    wait_for_epochs(tmp_path)
    os.close(controller)
    os.kill(process.pid, signal.SIGHUP)  # as the kernel does where it is the session's terminal
    assert process.wait(timeout=300) == 0
    assert num_epochs(tmp_path) == 40
