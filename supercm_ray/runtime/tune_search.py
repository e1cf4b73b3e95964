"""Ray Tune's searcher: hands out the runs of a queue."""

from __future__ import annotations

from ray.tune.search import Searcher

from supercm_ray.execution.executor import RunQueue
from supercm_ray.runtime.tune_trainable import TrialConfig


class QueueSearcher(Searcher):
    """Hands out the runs of a queue, in order. How they end is reported by the callback."""

    def __init__(self, queue: RunQueue) -> None:
        """Creates the searcher over a queue."""
        super().__init__()
        self._queue = queue

    def suggest(self, trial_id: str) -> TrialConfig | str:
        """Returns the next run."""
        run = self._queue.next()
        return Searcher.FINISHED if run is None else {"run": run}

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        """No-op: the callback tells the queue."""

    def __getstate__(self) -> dict[str, object]:
        """Returns no state: Tune's own snapshots are never restored, since the records hold everything."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """No-op: the records hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """No-op: the records hold everything."""
