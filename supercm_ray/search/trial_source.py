"""The source of a search's trials: interrupted trials first, then those that Optuna proposes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from supercm_ray.config import Leaf, Study
from supercm_ray.errors import StorageError
from supercm_ray.records import EpochMetrics, RunView, StudyFolder
from supercm_ray.search.optuna_storage import OptunaStore, told_in_one_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number, and its parameters by dotted path."""

    number: int
    params: dict[str, Leaf]


class TrialSource:
    """Proposes the trials of a new or resumed study, at most as many as the budget allows."""

    def __init__(self, study: Study, folder: StudyFolder, trials: Sequence[RunView]) -> None:
        """Makes Optuna's storage agree with the records.

        Args:
            study: the study.
            folder: the folder of the study, which holds the storage.
            trials: the trials so far, from the records.

        Raises:
            StorageError: if the storage cannot be read or written.
        """
        self._study, self._store = study, OptunaStore(study, folder)
        self._store.reconcile(trials)
        with told_in_one_line(self._store.file):
            self._store.use_sampler()
            self._store.enqueue()
            self._interrupted = self._store.unfinished()

    @property
    def num_left(self) -> int:
        """Number of trials to run, interrupted ones included."""
        return max(0, self._study.budget.num_trials - self._store.num_trials) + len(self._interrupted)

    def next(self) -> Proposal | None:
        """Returns the next trial; an interrupted one keeps its number and parameters.

        Raises:
            StorageError: if the storage cannot be read or written.
        """
        with told_in_one_line(self._store.file):
            if self._interrupted:
                number = self._interrupted.pop(0)
                return Proposal(number, self._store.ask_again(number))
            if self._store.num_trials >= self._study.budget.num_trials:
                return None
            return Proposal(*self._store.ask())

    def report(self, number: int, message: EpochMetrics) -> None:
        """Tells Optuna the value of an epoch if there is one objective; with several, Optuna accepts final
        values only.
        """
        if len(self._study.objective) == 1:
            value = float(message.metrics[self._study.primary.metric])
            self._try(lambda: self._store.report(number, message.epoch, value))

    def tell(self, trial: RunView) -> None:
        """Tells Optuna how a trial ended."""
        self._try(lambda: self._store.tell(trial))

    def _try(self, write: Callable[[], None]) -> None:
        """Writes to Optuna's storage; if that fails, the next command updates it from the records."""
        try:
            with told_in_one_line(self._store.file):
                write()
        except StorageError as error:
            logger.warning("Optuna's storage cannot be written, the next command makes up for it: %s", error)
