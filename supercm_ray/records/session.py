"""Who runs a study: the process, where it runs, and how it ended."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from supercm_ray.credentials import without_credentials
from supercm_ray.records.files import now_ms

NodeState = Literal["in use", "left out", "gone"]

_OWN_NAMES = ("supercm-ray", "__main__.py")  # of the command and of `python -m supercm_ray.cli`
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19  # of /proc/PID/stat, counted behind the name: when the process was started


@dataclass(frozen=True)
class SessionNode:
    """A machine that a study runs on, or might.

    Attributes:
        name: its host name.
        address: its address within the cluster.
        cpus: its CPUs for runs.
        gpus: its GPUs for runs.
        state: whether runs are given to it.
        reason: why they are not.
    """

    name: str
    address: str = ""
    cpus: float = 0.0
    gpus: float = 0.0
    state: NodeState = "in use"
    reason: str = ""

    def __post_init__(self) -> None:
        if self.state not in get_args(NodeState):
            raise ValueError(f"the state {self.state!r}")


@dataclass(frozen=True)
class Session:
    """One command that ran a study, the last one of it.

    Attributes:
        host: name of the host of its process.
        pid: id of its process there.
        process: what tells its process from all others that ever had this id there; empty if the system has nothing.
        command: the command line, without credentials.
        directory: the directory in which it was given.
        started_ms: when it began, in milliseconds since 1970.
        ended_ms: when it ended, None while it runs, or if it was killed.
        end: how it ended: empty, `complete`, `interrupted`, `preempted`, or `failed: ...`.
        reason: what interrupted it.
        takes_signals: whether SIGTERM ends the study in good order, and not the process alone.
        phase: the phase of the study that it came to, such as `search`; empty before the first.
        phase_ms: when that phase began.
        total: number of the runs of that phase.
        done_before: number of those that had ended when it began.
        where: where it runs, in one line.
        nodes: the machines there.
    """

    host: str
    pid: int
    process: str = ""
    command: str = ""
    directory: str = ""
    started_ms: int = 0
    ended_ms: int | None = None
    end: str = ""
    reason: str = ""
    where: str = ""
    nodes: tuple[SessionNode, ...] = ()
    takes_signals: bool = False
    phase: str = ""
    phase_ms: int = 0
    total: int = 0
    done_before: int = 0

    @classmethod
    def begun_here(cls, *, takes_signals: bool = False) -> Session:
        """Returns the session of this process, which begins now."""
        return cls(
            host=host_name(),
            pid=os.getpid(),
            process=process_identity(os.getpid()),
            command=_command_line(),
            directory=str(Path.cwd()),
            started_ms=now_ms(),
            takes_signals=takes_signals,
        )

    @classmethod
    def from_tree(cls, tree: Mapping[str, object]) -> Session:
        """Returns the session in a JSON object.

        Raises:
            TypeError, ValueError: if it is none.
        """
        given = {name: value for name, value in tree.items() if name in cls.__dataclass_fields__}
        nodes = given.pop("nodes", ())
        if not isinstance(nodes, list | tuple) or not all(isinstance(one, dict) for one in nodes):
            raise TypeError("nodes that are no list of objects")
        made = cls(**given, nodes=tuple(SessionNode(**one) for one in nodes))  # type: ignore[arg-type]
        numbers = (made.pid, made.started_ms, made.ended_ms or 0, made.phase_ms, made.total, made.done_before)
        texts = (made.host, made.process, made.command, made.directory, made.end, made.reason, made.where, made.phase)
        if not all(isinstance(one, int) for one in numbers) or not all(isinstance(one, str) for one in texts):
            raise TypeError("a number that is none, or a text that is none")
        return made

    @property
    def resume(self) -> str:
        """The command line that runs the study again, with where to give it."""
        return f"{self.command} (in {self.directory})" if self.directory else self.command

    @property
    def is_alive_here(self) -> bool:
        """Whether its process runs on this host. False says nothing of a process of another host."""
        return is_running_here(self.host, self.pid, self.process)

    @property
    def is_gone_from_here(self) -> bool:
        """Whether its process is known to have ended, since it ran on this host."""
        return is_gone_from_here(self.host, self.process, self.pid)


def host_name() -> str:
    """Returns the name of this host."""
    return socket.gethostname()


def this_machine() -> str:
    """Returns what tells this machine from others, and from itself before it was started anew."""
    return f"{host_name()}:{_machine()}"


def process_identity(pid: int) -> str:
    """Returns what tells a process of this host from others that have had its id: when the system was started, the
    namespace of ids, and when the process was started. Empty if there is no such process, or the system has nothing.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":  # it has ended, and its parent does not know yet
            return ""
        return f"{_machine()}:{fields[_START_FIELD]}"
    except (OSError, IndexError):
        return ""


def is_running_here(host: str, pid: int, process: str) -> bool:
    """Returns whether a process is seen to run on this host.

    Args:
        host: the name of its host.
        pid: its id there.
        process: its `process_identity`; empty if it is not known.
    """
    if host != host_name():
        return False
    if process:
        return process == process_identity(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def is_gone_from_here(host: str, process: str, pid: int) -> bool:
    """Returns whether a process is known to have run among those of this host, and to have ended."""
    if host != host_name() or not process or process.rpartition(":")[0] != _machine():
        return False
    return process != process_identity(pid)


def _machine() -> str:
    """Returns what names this start of this system and this namespace of process ids; empty if nothing does."""
    try:
        boot = _BOOT_ID.read_text(encoding="utf-8").strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (no path, a name)
    except OSError:
        return ""


def _command_line() -> str:
    name = Path(sys.argv[0]).name if sys.argv else ""
    return without_credentials(shlex.join(["supercm-ray" if name in _OWN_NAMES else name, *sys.argv[1:]]))
