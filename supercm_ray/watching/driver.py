"""The process that runs a study, as seen from any host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supercm_ray.records import Session
from supercm_ray.records.lock import sign_of_life_s

SILENT_S = 60.0
"""Seconds without a sign of life after which a process that cannot be asked counts as silent."""

DriverState = Literal["running", "silent", "killed", "ended"]


@dataclass(frozen=True)
class Driver:
    """The process that runs a study, or ran it last.

    Attributes:
        host: name of its host.
        pid: its id there.
        state: `running`, also while it closes what it has ended; `silent`, without a sign of life for long; `killed`,
            ended without a word; or `ended`.
        seen_s: seconds since its last sign of life, None if there is none.
    """

    host: str
    pid: int
    state: DriverState
    seen_s: float | None

    @property
    def may_run(self) -> bool:
        """Whether the process may still be there."""
        return self.state in ("running", "silent")


def find_driver(session: Session, folder: Path) -> Driver:
    """Returns the process of a session. On this host it is looked for; of another host the signs of life count, by
    which the holder of a lock shows that it lives.
    """
    seen_s = sign_of_life_s(folder, session.host, session.pid)
    return Driver(session.host, session.pid, _state(session, seen_s), seen_s)


def _state(session: Session, seen_s: float | None) -> DriverState:
    if seen_s is None:  # nobody holds the study's lock, whatever else the process does
        return "ended" if session.end else "killed"
    if session.is_alive_here:
        return "running"
    if session.end or session.is_gone_from_here:
        return "ended" if session.end else "killed"
    return "running" if seen_s < SILENT_S else "silent"
