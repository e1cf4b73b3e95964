"""Optuna's storage of a study, derived from the records and rebuilt from them if it is lost."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from supercm_ray.config import Leaf, Study
from supercm_ray.errors import StorageError
from supercm_ray.records import RunView, StudyFolder, reason_of, sqlite_url
from supercm_ray.search.space import build_sampler, to_optuna
from supercm_ray.search.trials import REASON, frozen_trial

logger = logging.getLogger(__name__)

_LOCK_TIMEOUT_S = 60  # another program may hold the database for a while
_LOST = "its record was lost"
_SIGNS_OF_DAMAGE = (
    "not a database",
    "malformed",
    "no such table",
    "no such column",
    "no longer compatible with the table schema",  # of another version of Optuna
)

_DAMAGED = (DatabaseError, OptunaError, RuntimeError, AssertionError, ValueError, LookupError)


@contextmanager
def told_in_one_line(file: Path) -> Iterator[None]:
    """Turns any error of the database into one line.

    Raises:
        StorageError: if it cannot be read or written.
    """
    try:
        yield
    except (OptunaError, SQLAlchemyError, OSError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
        reason = str(getattr(cause, "orig", None) or reason_of(cause)).splitlines()[0]
        remedy = f"end the program that holds it for more than {_LOCK_TIMEOUT_S} s" if "locked" in reason else ""
        raise StorageError(
            f"{file} must be readable and writable, got: {reason}; {remedy or 'make room or access there'}, then give "
            "the same command again"
        ) from error


class OptunaStore:
    """Optuna's storage of one study, in `optuna.db` of its folder.

    Attributes:
        optuna: the study as Optuna has it.
    """

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        """Opens the storage, or creates it. A file that is not a whole database of this version of Optuna is moved
        aside with a warning.

        Raises:
            StorageError: if it cannot be read or written.
        """
        self._study, self._folder = study, folder
        self._file = folder.path / "optuna.db"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with told_in_one_line(self._file):
            try:
                self._open()
            except _DAMAGED as error:
                self._set_aside(error)

    def _set_aside(self, error: Exception) -> None:
        """Moves the file aside and creates another one.

        Raises:
            Exception: the error, unless it comes from what the file holds.
        """
        reason = f"{error} {error.__cause__ or ''}"
        if isinstance(error, DatabaseError | OptunaError) and not any(sign in reason for sign in _SIGNS_OF_DAMAGE):
            raise error
        aside = self._file.with_name("optuna.broken.db")
        self._file.replace(aside)
        logger.warning("%s cannot be used (%s) and was moved to %s", self._file, reason_of(error), aside.name)
        self._open()

    def _open(self) -> None:
        if not self._file.exists() or not self._file.stat().st_size:
            self._create()
        self._storage = _storage(self._file)
        self.optuna = _optuna_study(self._study, self._storage)

    def _create(self) -> None:
        """Builds the database beside its place and renames it, so that a kill leaves none that is half made. The
        study's lock keeps other commands away.
        """
        partial = self._file.with_name(".optuna.db.partial")
        partial.unlink(missing_ok=True)
        try:
            storage = _storage(partial)
            _optuna_study(self._study, storage)
            storage.remove_session()
            storage.engine.dispose()
            partial.replace(self._file)
        finally:
            partial.unlink(missing_ok=True)

    def reconcile(self, trials: Sequence[RunView]) -> None:
        """Makes the storage agree with the records. If it lacks a trial, contradicts one, or has an ended one that they
        lack, it is rebuilt from them with a warning.

        Args:
            trials: the trials of the study, from its records.

        Raises:
            StorageError: if the storage cannot be read or written.
        """
        with told_in_one_line(self._file):
            try:
                self._reconcile(trials)
            except _DAMAGED as error:
                self._set_aside(error)
                self._reconcile(trials)

    def _reconcile(self, trials: Sequence[RunView]) -> None:
        known, by_number = self.optuna.get_trials(deepcopy=False), {trial.number: trial for trial in trials}
        has_more = any(one.state.is_finished() and one.number not in by_number and not _is_lost(one) for one in known)
        if not has_more and all(_agrees(self._study, trial, known) for trial in trials):
            for trial in trials:
                self.tell(trial)
            return
        logger.warning(
            "%s does not hold what the records of %d trials say; it is made anew from them", self._file, len(trials)
        )
        optuna.delete_study(study_name=self._study.name, storage=self._storage)
        self._open()
        for number in range(max(by_number, default=-1) + 1):
            found = by_number.get(number)
            lost = create_trial(state=TrialState.FAIL, user_attrs={REASON: _LOST})
            self.optuna.add_trial(frozen_trial(self._study, found) if found else lost)

    def use_sampler(self) -> None:
        """Makes the study's sampler propose parameters; after a resumption it draws new random numbers."""
        self.optuna.sampler = build_sampler(self._study.sampler, len(self._begun()))

    def enqueue(self) -> None:
        """Enqueues the study's enqueued trials that have not begun, each once, however often this is called. They come
        first and in order, also where the storage was made anew and no longer says which trials were enqueued.
        """
        for point in self._study.enqueued_trials[len(self._begun()) : self._study.budget.num_trials]:
            self.optuna.enqueue_trial(point, skip_if_exists=True)

    @property
    def file(self) -> Path:
        """Path of the database."""
        return self._file

    @property
    def num_trials(self) -> int:
        """Number of trials started, ended or not, without those whose record was lost."""
        return sum(not _is_lost(trial) for trial in self._begun())

    def unfinished(self) -> list[int]:
        """Numbers of trials that were started and not ended, since they were interrupted."""
        return [trial.number for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def ask(self) -> tuple[int, dict[str, Leaf]]:
        """Returns the number and the parameters of a new trial."""
        trial = self.optuna.ask(to_optuna(self._study))
        return trial.number, dict(trial.params)

    def ask_again(self, number: int) -> dict[str, Leaf]:
        """Returns the parameters of an interrupted trial; samples them if it was killed before they were."""
        trial = self._trial(number)
        for path, one in to_optuna(self._study).items():
            if path not in trial.params:
                _suggest(trial, path, one)
        return dict(trial.params)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Tells Optuna the value of an epoch of a trial. No-op if it is known."""
        with warnings.catch_warnings():  # epochs that a resumed trial goes through again are known already
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            self._trial(number).report(value, epoch)

    def tell(self, trial: RunView) -> None:
        """Tells Optuna how a trial ended. No-op if it is known or the trial is open."""
        ended = frozen_trial(self._study, trial)
        known = self.optuna.get_trials(deepcopy=False)[trial.number]
        if known.state != TrialState.RUNNING or ended.state == TrialState.RUNNING:
            return
        for epoch, value in ended.intermediate_values.items():
            if epoch not in known.intermediate_values:
                self.report(trial.number, epoch, value)
        for name, attribute in ended.user_attrs.items():
            self._trial(trial.number).set_user_attr(name, attribute)
        self.optuna.tell(trial.number, ended.values, state=ended.state)

    def _begun(self) -> list[FrozenTrial]:
        return [trial for trial in self.optuna.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def _trial(self, number: int) -> Trial:
        study_id = self._storage.get_study_id_from_name(self._study.name)
        return Trial(self.optuna, self._storage.get_trial_id_from_study_id_trial_number(study_id, number))


def _storage(file: Path) -> RDBStorage:
    return RDBStorage(sqlite_url(file), engine_kwargs={"connect_args": {"timeout": _LOCK_TIMEOUT_S}})


def _optuna_study(study: Study, storage: RDBStorage) -> optuna.Study:
    """Returns the study in a storage, which is created if there is none."""
    found = optuna.create_study(
        storage=storage,
        study_name=study.name,
        directions=[objective.direction for objective in study.objective],
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    with warnings.catch_warnings():  # Optuna calls names of objectives experimental each time
        warnings.simplefilter("ignore", ExperimentalWarning)
        found.set_metric_names([objective.metric for objective in study.objective])
    return found


def _suggest(trial: Trial, path: str, one: optuna.distributions.BaseDistribution) -> None:
    if isinstance(one, optuna.distributions.FloatDistribution):
        trial.suggest_float(path, one.low, one.high, step=one.step, log=one.log)
    elif isinstance(one, optuna.distributions.IntDistribution):
        trial.suggest_int(path, one.low, one.high, step=one.step, log=one.log)
    elif isinstance(one, optuna.distributions.CategoricalDistribution):
        trial.suggest_categorical(path, one.choices)


def _is_lost(trial: FrozenTrial) -> bool:
    """Returns whether a stored trial only holds the number of one whose record was lost."""
    return trial.user_attrs.get(REASON) == _LOST


def _agrees(study: Study, trial: RunView, known: Sequence[FrozenTrial]) -> bool:
    """Returns whether Optuna has the trial with its parameters and values, and no other status than its record."""
    if trial.number >= len(known):
        return False
    found, ended = known[trial.number], frozen_trial(study, trial)
    if found.state == TrialState.RUNNING:
        return all(ended.params.get(path) == value for path, value in found.params.items())
    values = found.values if found.state == TrialState.COMPLETE else None  # Optuna gives a pruned one its last value
    return (found.state, found.params, values) == (ended.state, ended.params, ended.values)
