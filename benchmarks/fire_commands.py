"""The commands of the fire drill, each in a process of its own, and how they may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = (0.3, 1.0, 3.0)
STUDY = {
    "base": {
        "data": {"name": "digits", "label_ratio": 0.02},
        "model": {"name": "mlp", "options": {"channels": [4]}},
        "training": {"num_epochs": 2, "steps_per_epoch": 4, "learning_rate": 0.01, "device": "cpu"},
    },
    "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
    "budget": {"num_trials": len(WEIGHTS)},
    "enqueued_trials": [{"algorithm.clustering_weight": weight} for weight in WEIGHTS],
    "sampler": {"name": "random", "seed": 0},
    "scheduler": {"name": "none"},
    "num_seeds": 1,
    "scaling": {"num_workers": [1], "repetitions": 1, "num_steps": 4, "warmup_steps": 1},
}
"""A study whose trials are all given, so that one that was disturbed has the same as one that was not."""

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "tune": ("tune", "tiny.yaml", "--executor", "in-process"),
    "tune ray": ("tune", "tiny.yaml", "--executor", "ray"),
    "train": ("train", "tiny.yaml", "--workers", "2"),
    "scale": ("scale", "tiny.yaml"),
    "report": ("report", "tiny"),
}
FOLDERS = {"tune": "tiny", "tune ray": "tiny", "report": "tiny", "train": "train/tiny-*", "scale": "scale/tiny-*"}
SECONDS = {"tune": 13, "tune ray": 35, "train": 35, "scale": 30, "report": 9}
"""About how long each takes when nothing disturbs it, for moments in the midst of it."""
LAST_LINES = ("the same command resumes it", "give the same command again", "goes on from there")
WARNED = "the tracker does not take"
LACKS = "lacks a part of this study"
_GONE_S = 20.0
_MARK = "FIRE_DRILL_FOLDER"


@dataclass
class Place:
    """A directory in which the commands of a round are given."""

    path: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.path, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))

    @property
    def logs(self) -> Path:
        """The folder of what the commands print, on another disk than theirs where that is a small one."""
        return self.path.with_name(f"{self.path.name}-logs")

    def study(self, command: str) -> Path | None:
        """Returns the folder of the command's study, None if there is none yet."""
        return next((self.path / "results").glob(FOLDERS[command]), None)

    def start(self, *words: str) -> Process:
        """Starts a command, as one gives it in a shell of its own."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_", "SUPERCM"))
        }
        alone = {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}
        marked = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", _MARK: str(self.path)}
        return Process(self, words, {**kept, **alone, **marked, **self.variables})

    def run(self, *words: str, limit_s: float = 300) -> Done:
        """Gives a command and waits for its end."""
        process = self.start(*words)
        try:
            return process.finish(limit_s)
        finally:
            process.kill()

    def sweep(self, patience_s: float = _GONE_S) -> list[int]:
        """Waits until no process that a command started is left, kills those that stay, and returns their ids."""
        until = time.monotonic() + patience_s
        while (left := self._processes()) and time.monotonic() < until:
            time.sleep(0.2)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def _processes(self) -> list[int]:
        mark, found = f"{_MARK}={self.path}\0".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        status: its exit status, below 0 for a signal; None if it had to be ended.
    """

    status: int | None
    stdout: str
    stderr: str

    @property
    def said(self) -> list[str]:
        """The lines of its standard error."""
        return [line for line in self.stderr.splitlines() if line.strip()]

    @property
    def last_line(self) -> str:
        """The last of these lines."""
        return self.said[-1] if self.said else ""

    @property
    def is_told_to_sync(self) -> bool:
        """Whether it said that the tracker lacks a part, and which command sends it."""
        return "`supercm-ray sync" in self.stderr or (LACKS in self.stderr and "supercm-ray sync" in self.stderr)


class Process:
    """A command that runs."""

    def __init__(self, place: Place, words: tuple[str, ...], environment: dict[str, str]) -> None:
        """Starts it, with its output in two files."""
        self.place, self.began = place, time.monotonic()
        self._files = [place.logs / f"{name}.txt" for name in ("stdout", "stderr")]
        with self._files[0].open("w") as stdout, self._files[1].open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "supercm_ray.cli", *words],
                cwd=place.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                restore_signals=True,
            )

    def ended(self) -> bool:
        """Returns whether it has ended."""
        return self._process.poll() is not None

    def send(self, sig: signal.Signals, *, to_group: bool) -> None:
        """Sends a signal to it, or to all processes of its terminal; none once it has ended."""
        if not self.ended():
            os.killpg(self._process.pid, sig) if to_group else self._process.send_signal(sig)

    def wait(self, seconds: float) -> bool:
        """Waits for its end, and returns whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.ended()

    def finish(self, limit_s: float) -> Done:
        """Waits for its end, which is brought about after so many seconds."""
        came = self.wait(limit_s)
        if not came:
            self.kill()
        stdout, stderr = (path.read_text(errors="replace") for path in self._files)
        return Done(self._process.returncode if came else None, stdout, stderr)

    def kill(self) -> None:
        """Ends it and what it started at once."""
        self.send(signal.SIGKILL, to_group=True)
        self._process.wait()


def wrong_end(done: Done, allowed: frozenset[int], passwords: tuple[str, ...], *, has_tracker: bool) -> list[str]:
    """Returns what is not as documented about the end of a command: exit status, last line, and what it shows.

    Args:
        done: the command.
        allowed: the exit statuses it may have.
        passwords: what it must not show.
        has_tracker: whether its tracker worked all the time, so that it must not warn of that.
    """
    wrong = []
    if done.status is None:
        return ["no end"]
    if _is_of_python(done):
        return []
    if has_tracker and (WARNED in done.stderr or LACKS in done.stderr):
        wrong.append("a warning of the tracker without a cause")
    if done.status not in allowed:
        wrong.append(f"exit status {done.status}")
    if "Traceback" in done.stderr + done.stdout and done.status != -signal.SIGKILL:
        wrong.append("traceback")
    if any(password in done.stderr + done.stdout for password in passwords):
        wrong.append("password shown")
    if not _is_right_last_line(done):
        wrong.append("last line")
    return wrong


def _is_of_python(done: Done) -> bool:
    """Returns whether Ctrl-C came while Python itself started, before anything of this package."""
    return "KeyboardInterrupt" in done.stderr and "<frozen runpy>" not in done.stderr and not done.stdout


def _is_right_last_line(done: Done) -> bool:
    if done.status in (1, 2):
        return done.last_line.startswith("error: ") and "; " in done.last_line
    if done.status in (130, 143, 75):
        return any(words in done.stderr for words in LAST_LINES)
    if done.status == 0:
        return LACKS not in done.stderr or done.is_told_to_sync
    return True
