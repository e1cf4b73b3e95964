"""Where the trials of a search come from: Optuna proposes them, those that were interrupted first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from supercm_ray.config import Leaf, Study
from supercm_ray.records import EpochMetrics, RunView, StudyFolder
from supercm_ray.search.optuna_storage import OptunaStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """A trial to be made: its number, and its parameters by dotted path."""

    number: int
    params: dict[str, Leaf]


class TrialSource:
    """Hands out the trials of a study that may have been begun before, never more than the budget has."""

    def __init__(self, study: Study, folder: StudyFolder, trials: Sequence[RunView]) -> None:
        """Brings Optuna's storage to what the records say.

        Args:
            study: the study.
            folder: where the storage lies.
            trials: those of the study so far, from its records.
        """
        self._study, self._store = study, OptunaStore(study, folder)
        self._store.reconcile(trials)
        self._store.use_sampler()
        self._store.enqueue()
        self._interrupted = self._store.unfinished()

    @property
    def num_left(self) -> int:
        """Trials still to be run, those interrupted included."""
        return max(0, self._study.budget.num_trials - self._store.num_trials) + len(self._interrupted)

    def next(self) -> Proposal | None:
        """The trial to make next; one that was interrupted keeps its number and its parameters."""
        if self._interrupted:
            number = self._interrupted.pop(0)
            return Proposal(number, self._store.ask_again(number))
        if self._store.num_trials >= self._study.budget.num_trials:
            return None
        return Proposal(*self._store.ask())

    def report(self, number: int, message: EpochMetrics) -> None:
        """Tells Optuna the value of an epoch, where there is one objective: for several it takes final values alone."""
        if len(self._study.objective) == 1:
            value = float(message.metrics[self._study.primary.metric])
            self._try(lambda: self._store.report(number, message.epoch, value))

    def tell(self, trial: RunView) -> None:
        """Tells Optuna how a trial ended."""
        self._try(lambda: self._store.tell(trial))

    def _try(self, write: Callable[[], None]) -> None:
        """Writes to Optuna's storage, which the next command brings up to date where it cannot be written now."""
        try:
            write()
        except (OptunaError, SQLAlchemyError) as error:
            logger.warning("Optuna's storage cannot be written, the next command makes up for it: %s", error)
