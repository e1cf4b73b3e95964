"""The faults of the fire drill, and the moments at which they begin."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fire_backends import Server
from fire_commands import SECONDS, Process
from fire_proxy import FAULTS as PROXY_FAULTS
from fire_proxy import Proxy

MARKS = {
    "tune": (
        "study.json",
        "optuna.db",
        "trials/*/run.json",
        "trials/*/metrics.jsonl",
        "finalists.json",
        "finalists/*/run.json",
        "report.html",
    ),
    "train": ("study.json", "train/*/run.json", "train/*/metrics.jsonl", "train/*/checkpoint.pt"),
    "scale": ("study.json", "repetitions/*/run.json", "measurements.json", "scaling.html"),
}
"""Files that a command leaves on its way, below its study's folder."""
_DISKS_MB = {"full results": 4, "full folder": 24}


@dataclass(frozen=True)
class Moment:
    """When a fault begins: so many seconds after the start, or after a command has left so many files."""

    seconds: float
    pattern: str = ""
    count: int = 0

    @classmethod
    def draw(cls, rng: random.Random, command: str) -> Moment:
        """Draws a moment: one of the first, any, or one at which something has just been written."""
        kind = rng.random()
        if kind < 0.25:
            return cls(0.001 * 3000 ** rng.random())
        marks = MARKS.get(command.partition(" ")[0], ())
        if kind < 0.6 or not marks:
            return cls(rng.uniform(0, SECONDS[command]))
        mark = rng.choice(marks)
        return cls(
            rng.choice((0.0, 0.05, 0.3, 3.0)) * rng.random(), mark, rng.choice((1, 2, 3)) if "trials" in mark else 1
        )

    def wait(self, process: Process, command: str) -> None:
        """Waits for the moment, or the end of the process."""
        while self.pattern and not process.ended():
            study = process.place.study(command)
            if study is not None and len(list(study.glob(self.pattern))) >= self.count:
                break
            process.wait(0.01)
        process.wait(self.seconds)

    def __str__(self) -> str:
        after = f"{self.count} {self.pattern} + " if self.pattern else ""
        return f"{after}{self.seconds:.3f} s"


class Fault:
    """Something that happens to a command or to what it writes to, until it is ended."""

    needs_server = False
    needs_proxy = False

    def __init__(self, allowed: set[int], hold_s: float | None = None) -> None:
        """Stores the exit statuses that a command may end with, and how long it lasts; None for until its end."""
        self.allowed, self.hold_s = frozenset({0, *allowed}), hold_s

    @property
    def is_of_tracker(self) -> bool:
        """Whether it keeps the tracker from working."""
        return self.needs_server

    def prepare(self, folder: Path) -> None:
        """Prepares the folder before the command is given."""

    def begin(self, process: Process, command: str) -> None:
        """Brings the fault about."""

    def end(self) -> None:
        """Ends the fault; no-op if it does not last."""


class Signal(Fault):
    """A signal to the command; of `kill -9` and Ctrl-C to all processes of its terminal."""

    def __init__(self, sig: signal.Signals) -> None:
        """Stores it. Before Python has its handlers, the process ends by the signal itself."""
        super().__init__({-sig} if sig == signal.SIGKILL else {-sig, 128 + sig})
        self._sig = sig

    def is_closed(self, status: int | None) -> bool:
        """Returns whether a command that ended with this status has taken the signal, and closed what was open."""
        return status == 128 + self._sig

    def begin(self, process: Process, command: str) -> None:
        """Sends the signal."""
        process.send(self._sig, to_group=self._sig != signal.SIGTERM)


class FullDisk(Fault):
    """A small disk that is full from the moment on, under the results or under the whole folder."""

    def __init__(self, name: str) -> None:
        """Stores which."""
        super().__init__({1, 2})
        self._name, self._disk, self._is_mounted = name, Path(), False

    @property
    def is_of_tracker(self) -> bool:
        """Whether the tracker's files lie there too, or what it is to be sent."""
        return True

    def prepare(self, folder: Path) -> None:
        """Mounts the disk."""
        self._disk = folder / "results" if self._name == "full results" else folder
        self._disk.mkdir(parents=True, exist_ok=True)
        options = f"size={_DISKS_MB[self._name]}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(self._disk)], check=True)
        self._is_mounted = True

    def begin(self, process: Process, command: str) -> None:
        """Takes the rest of the disk."""
        with (self._disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def end(self) -> None:
        """Makes room."""
        (self._disk / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Unmounts the disk."""
        if self._is_mounted:
            subprocess.run(["umount", "-l", str(self._disk)], check=True)
            self._is_mounted = False


class Lock(Fault):
    """A write lock that another program holds on a database, once it is there."""

    def __init__(self, name: str, seconds: float) -> None:
        """Stores the name of the database."""
        super().__init__({2} if name == "mlflow.db" else set(), seconds)
        self._name = name
        self._connection: sqlite3.Connection | None = None

    @property
    def is_of_tracker(self) -> bool:
        """Whether it is the tracker's database."""
        return self._name == "mlflow.db"

    def begin(self, process: Process, command: str) -> None:
        """Takes the lock."""
        while (path := self._path(process, command)) is None and not process.ended():
            process.wait(0.02)
        while path is not None and self._connection is None and not process.ended():
            connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._connection = connection
            except sqlite3.OperationalError:  # the command itself holds it
                connection.close()

    def _path(self, process: Process, command: str) -> Path | None:
        folder = process.place.path if self._name == "mlflow.db" else process.place.study(command)
        path = (folder or Path("/nonexistent")) / self._name
        return path if path.exists() and path.stat().st_size else None

    def end(self) -> None:
        """Gives it back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ServerFault(Fault):
    """Something that happens to the tracking server or its database, and is undone."""

    needs_server = True

    def __init__(self, server: Server, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
        """Stores what is done."""
        super().__init__({2}, seconds)
        self._server, self._begin, self._end, self._is_on = server, begin, end, False

    def begin(self, process: Process, command: str) -> None:
        """Does it."""
        self._is_on = True
        self._begin()

    def end(self) -> None:
        """Undoes it, and waits until the server answers."""
        if self._is_on:
            self._end()
            self._server.wait()
            self._is_on = False


class ProxyFault(Fault):
    """A proxy that answers a share of the requests wrongly."""

    needs_server = True
    needs_proxy = True

    def __init__(self, kind: str, share: float, proxy: Proxy) -> None:
        """Stores how."""
        super().__init__({2})
        self._kind, self._share, self._proxy = kind, share, proxy

    def begin(self, process: Process, command: str) -> None:
        """Begins to answer wrongly."""
        self._proxy.disturb(self._kind, self._share)

    def end(self) -> None:
        """Ends it."""
        self._proxy.soothe()


SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
LOCKS = {"locked optuna.db": "optuna.db", "locked mlflow.db": "mlflow.db"}
SERVER_FAULTS = ("server frozen", "server killed", "PostgreSQL stopped")
NAMES = (
    *SIGNALS,
    *_DISKS_MB,
    *LOCKS,
    *SERVER_FAULTS,
    *(f"proxy {kind}" for kind in (*PROXY_FAULTS, "mixed")),
)
_COMMANDS = {"tune": 10, "tune ray": 1, "train": 2, "scale": 1, "report": 2}
WEIGHTS = {"kill -9": 4, "SIGTERM": 2, "Ctrl-C": 2}
"""How often a fault comes where the others come once."""


@dataclass
class Arsenal:
    """Makes faults by their names."""

    server: Server
    proxy: Proxy
    rng: random.Random = field(default_factory=random.Random)

    def make(self, name: str) -> Fault:
        """Returns a fault with what is drawn for it."""
        if name in SIGNALS:
            return Signal(SIGNALS[name])
        if name in _DISKS_MB:
            return FullDisk(name)
        if name in LOCKS:
            return Lock(LOCKS[name], self.rng.uniform(1, 25))
        if name in SERVER_FAULTS:
            return self._of_server(name)
        return ProxyFault(name.removeprefix("proxy "), self.rng.choice((0.05, 0.1, 0.2, 0.5, 1.0)), self.proxy)

    def _of_server(self, name: str) -> Fault:
        server, seconds = self.server, self.rng.uniform(1, 25)
        if name == "server frozen":
            pair = (lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT))
        elif name == "PostgreSQL stopped" and server.postgres:
            pair = (server.postgres.stop, server.postgres.start)
        else:
            pair = (server.kill, server.start)
        return ServerFault(server, *pair, seconds)


def deck(rng: random.Random, names: list[str], rounds: int) -> list[str]:
    """Returns the faults of all rounds: each as often as its weight says, in random order."""
    whole = [name for name in names for _ in range(WEIGHTS.get(name, 1))]
    drawn: list[str] = []
    while len(drawn) < rounds:
        drawn += rng.sample(whole, len(whole))
    return drawn[:rounds]


def draw_command(rng: random.Random, fault: str, among: Sequence[str]) -> str:
    """Returns the command of a round; those that start Ray come less often."""
    weights = {name: weight for name, weight in _COMMANDS.items() if name in among and _fits(name, fault)}
    return rng.choices([*weights], [*weights.values()])[0] if weights else "tune"


def _fits(command: str, fault: str) -> bool:
    if fault in LOCKS and "optuna" in fault:
        return command.startswith("tune")
    return fault not in _DISKS_MB or command != "report"
