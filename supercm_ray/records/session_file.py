"""The file in a study's folder that says who runs it, written by that process alone, in any of its threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import SuperCMError
from supercm_ray.records.digests import check_digest, with_digest
from supercm_ray.records.files import now_ms, read_tree, reading, write_atomically
from supercm_ray.records.session import Session, SessionNode

_REMEDY = "remove it; the command that runs the study next writes it anew"

_is_written = threading.RLock()  # by one thread at a time


@dataclass(frozen=True)
class SessionFile:
    """The file `session.json` of a study."""

    path: Path

    def read(self) -> Session | None:
        """Reads who ran the study last; None if no command has.

        Raises:
            StorageError: if it cannot be read.
            DamagedError: if it is not as it was written.
        """
        tree = read_tree(self.path, _REMEDY)
        if tree is None:
            return None
        check_digest(tree, self.path, _REMEDY)
        with reading(self.path, _REMEDY):
            return Session.from_tree(tree)

    def was_preempted(self) -> bool:
        """Returns whether the last command that ran the study was pre-empted; False if that cannot be read."""
        try:
            session = self.read()
        except SuperCMError:
            return False
        return session is not None and session.end == "preempted"

    def write(self, session: Session) -> None:
        """Replaces the session.

        Raises:
            StorageError: if it cannot be written.
        """
        with _is_written:
            write_atomically(self.path, json.dumps(with_digest(json.loads(json.dumps(asdict(session)))), indent=1))

    def note_place(self, where: str | None, nodes: Sequence[SessionNode] | None) -> None:
        """Notes where the study runs. No-op if no session was begun, as for all that follow.

        Args:
            where: the place, in one line; None for no change.
            nodes: the machines there; None for no change.
        """
        place = {} if where is None else {"where": without_credentials(where)}
        self._change({**place, **({} if nodes is None else {"nodes": tuple(nodes)})})

    def note_phase(self, name: str, total: int, done_before: int) -> None:
        """Notes that a phase of the study begins.

        Args:
            name: its name.
            total: number of its runs.
            done_before: number of those that have ended already.
        """
        self._change({"phase": name, "total": total, "done_before": done_before, "phase_ms": now_ms()})

    def end(self, end: str, reason: str = "") -> bool:
        """Notes how the command ended, and returns False if that is noted already."""
        return self._change({"end": end, "reason": reason, "ended_ms": now_ms()}, unless_ended=True)

    def _change(self, changes: Mapping[str, object], *, unless_ended: bool = False) -> bool:
        with _is_written:
            session = self.read()
            if session is None or (session.end and unless_ended):
                return False
            self.write(replace(session, **changes))  # type: ignore[arg-type]
            return True
