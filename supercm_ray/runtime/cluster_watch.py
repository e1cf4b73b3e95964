"""Watching a cluster while a study runs on it: how much room it has, and whether its head still answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from supercm_ray.errors import PreemptedError

LOST_S = 25.0
"""Seconds without an answer after which a cluster's head counts as lost. Ray ends the process itself after 60."""
_INTERVAL_S = 1.0


class ClusterWatch:
    """Reads the room of a cluster once a second, in a thread, since a head that is lost keeps its caller waiting."""

    def __init__(self, read_room: Callable[[], int], *, lost_s: float = LOST_S) -> None:
        """Reads the room once, in the calling thread.

        Args:
            read_room: asks the cluster how many runs it has room for.
            lost_s: seconds without an answer after which its head counts as lost.
        """
        self._read_room, self._lost_s = read_room, lost_s
        self._room, self._answered_at = read_room(), time.monotonic()
        self._ended = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reads the room again and again within the block."""
        thread = threading.Thread(target=self._watch, name="cluster", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()

    def room(self) -> int:
        """Returns the number of runs that the cluster had room for when it answered last.

        Raises:
            PreemptedError: if its head has not answered for long.
        """
        silent_s = time.monotonic() - self._answered_at
        if silent_s > self._lost_s:
            raise PreemptedError(
                f"the head of the Ray cluster has not answered for {silent_s:.0f} s; the runs stay open, and the same "
                "command goes on once there is a cluster"
            )
        return self._room

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            try:
                self._room = self._read_room()
                self._answered_at = time.monotonic()
            except Exception:  # noqa: S112 (of any kind: what counts is that no answer comes)
                continue
