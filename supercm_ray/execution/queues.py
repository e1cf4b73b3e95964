"""The queues of a study: trials that Optuna proposes, and the runs on fresh seeds, candidates and finalists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from supercm_ray.config import Leaf, Study
from supercm_ray.execution.executor import Run
from supercm_ray.execution.recorder import Recorder
from supercm_ray.execution.stopping import StoppingRule
from supercm_ray.records import EpochMetrics, Kind, Message, RunFailed, Status
from supercm_ray.search import TrialSource, objective_values
from supercm_ray.search.finalists import Finalist


class TrialQueue:
    """The queue of a search's trials. Each message is recorded first, then passed to Optuna."""

    def __init__(self, recorder: Recorder, source: TrialSource, rule: StoppingRule) -> None:
        """Creates the queue.

        Args:
            recorder: keeps the records.
            source: proposes trials.
            rule: stops trials early.
        """
        self._recorder, self._source, self._rule = recorder, source, rule
        self._last: dict[str, EpochMetrics] = {}

    @property
    def num_left(self) -> int:
        """Number of trials to run, interrupted ones included."""
        return self._source.num_left

    def next(self) -> Run | None:
        """Returns the next trial."""
        proposed = self._source.next()
        if proposed is None:
            return None
        return self._recorder.begin(Run(trial_key(proposed.number), "trial", proposed.params))

    def take(self, run: Run, message: Message) -> bool:
        """Records a message and returns whether the trial is stopped early."""
        self._recorder.take(run.key, message)
        last = self._last.get(run.key)
        if not isinstance(message, EpochMetrics) or (last is not None and message.epoch <= last.epoch):
            return False
        self._last[run.key] = message
        self._source.report(trial_number(run.key), message)
        if message.epoch < self._recorder.study.base.training.num_epochs:
            return self._rule.decide(run.key, run.overrides, message)
        self._rule.complete(run.key, run.overrides, message)
        return False

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Closes the trial's record, then tells Optuna."""
        study = self._recorder.study
        status, why = final_status(study, run.overrides, self._last.pop(run.key, None), failure)
        self._recorder.end(run.key, status, why)
        view = self._recorder.folder.run(run.key).view()
        assert view is not None
        self._source.tell(view)


class FinalistQueue:
    """The queue of a study's finalists, or of its candidates' runs, in order."""

    def __init__(
        self,
        recorder: Recorder,
        finalists: Sequence[Finalist],
        *,
        kind: Kind = "finalist",
        trained: Mapping[str, str] | None = None,
    ) -> None:
        """Creates the queue.

        Args:
            recorder: keeps the records.
            finalists: the finalists to run.
            kind: what they are recorded as.
            trained: for the key of each that a candidate has trained already the candidate's, from whose last
                checkpoint it goes on.
        """
        self._recorder, self._finalists, self._kind = recorder, list(finalists), kind
        self._trained = trained or {}
        self._last: dict[str, EpochMetrics] = {}

    @property
    def num_left(self) -> int:
        """Number of finalists to run."""
        return len(self._finalists)

    def next(self) -> Run | None:
        """Returns the next finalist."""
        if not self._finalists:
            return None
        finalist = self._finalists.pop(0)
        run = self._recorder.begin(Run(finalist.key, self._kind, finalist.overrides, finalist.labels))
        if finalist.key in self._trained:
            self._recorder.copy_checkpoint(self._trained[finalist.key], finalist.key)
        return run

    def take(self, run: Run, message: Message) -> bool:
        """Records a message and returns False: runs on fresh seeds are never stopped early."""
        self._recorder.take(run.key, message)
        if isinstance(message, EpochMetrics):
            self._last[run.key] = message
        return False

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Closes the finalist's record."""
        status, why = final_status(self._recorder.study, run.overrides, self._last.pop(run.key, None), failure)
        self._recorder.end(run.key, status, why)


def final_status(
    study: Study, overrides: Mapping[str, Leaf], last: EpochMetrics | None, failure: RunFailed | None
) -> tuple[Status, RunFailed | None]:
    """Returns the final status of a run with this last epoch, and the reason if it failed or was stopped."""
    if failure is not None:
        return "failed", failure
    if last is None:
        return "failed", RunFailed(0, "it ended without an epoch", by_process=True)
    num_epochs = study.base.training.num_epochs
    values = objective_values(study, {**study.base.leaves(), **overrides}, last.metrics)
    if not all(math.isfinite(value) for value in values):
        return "failed", RunFailed(last.epoch, f"the objective is not a number in epoch {last.epoch}: {values}")
    if last.epoch < num_epochs:
        return "pruned", RunFailed(last.epoch, f"stopped early after epoch {last.epoch} of {num_epochs}")
    return "complete", None


def trial_key(number: int) -> str:
    """Returns the key of the run folder of a trial."""
    return f"trials/{number:04d}"


def trial_number(key: str) -> int:
    """Returns the number of the trial with this key."""
    return int(key.rsplit("/", 1)[-1])
