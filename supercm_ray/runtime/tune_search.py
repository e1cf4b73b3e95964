"""Ray Tune's searcher: hands out the runs of a queue, as many at once as the cluster has room for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ray.tune.search import Searcher

from supercm_ray.errors import PreemptedError
from supercm_ray.execution.halting import HaltingQueue
from supercm_ray.runtime.tune_trainable import TrialConfig

logger = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""Seconds that a study waits for room for a single run, once nothing runs any more."""


class QueueSearcher(Searcher):
    """Hands out the runs of a queue, in order. How they end is reported by the callback.

    The room is asked for again whenever a run could be handed out, so that a study grows and shrinks with its cluster.
    """

    def __init__(
        self,
        queue: HaltingQueue,
        room: Callable[[], int],
        left_out: Callable[[], frozenset[str]],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Creates the searcher over a queue.

        Args:
            queue: the queue.
            room: returns the number of runs that the cluster has room for.
            left_out: returns the ids of the nodes that are not used.
            patience_s: seconds without room for a single run after which everything ends, with the runs left open.
        """
        super().__init__()
        self._queue, self._room, self._left_out, self._patience_s = queue, room, left_out, patience_s
        self._out: set[str] = set()
        self._waiting_since: float | None = None

    def suggest(self, trial_id: str) -> TrialConfig | str | None:
        """Returns the next run; None if there is no room for it, or if one that is out may yet be handed out again."""
        if len(self._out) >= self._room():
            self._wait()
            return None
        self._waiting_since = None
        run = self._queue.next()
        if run is None:
            return None if self._out else str(Searcher.FINISHED)
        self._out.add(trial_id)
        return {"run": run, "left_out": tuple(sorted(self._left_out()))}

    def _wait(self) -> None:
        if self._out:
            return
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
            logger.warning("no node has room for a run any more; waiting for one, at most %g s", self._patience_s)
        if time.monotonic() - self._waiting_since > self._patience_s:
            self._queue.halt(
                PreemptedError(
                    f"no node has had room for a run for {self._patience_s:g} s; the runs stay open, and the same "
                    "command goes on once there are nodes"
                )
            )

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        """Notes that a run is out no more: the callback tells the queue how it ended."""
        self._out.discard(trial_id)

    def __getstate__(self) -> dict[str, object]:
        """Returns no state: Tune's own snapshots are never restored, since the records hold everything."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """No-op: the records hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """No-op: the records hold everything."""
