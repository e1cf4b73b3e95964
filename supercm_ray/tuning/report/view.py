"""Everything a report shows, gathered once from what a study has left on disk so far."""

from __future__ import annotations

import statistics
import zipfile
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supercm_ray import search
from supercm_ray.config import Study
from supercm_ray.data import load_dataset
from supercm_ray.data.splits import Splits
from supercm_ray.errors import SuperCMError
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.search import Group
from supercm_ray.search.finalists import TUNED, Finalist, Row, plan, table
from supercm_ray.tuning.report.incomplete import missing


@dataclass(frozen=True)
class RunView:
    """A run with the metrics of its last epoch, empty before the first."""

    record: RunRecord
    metrics: dict[str, float]

    @property
    def number(self) -> int:
        """The number of a trial."""
        return int(self.record.key.rsplit("/", 1)[-1])

    @property
    def num_epochs(self) -> int:
        """Epochs trained."""
        return int(self.metrics.get("epoch", 0))

    @property
    def val_accuracy(self) -> float | None:
        """The last accuracy on the validation split."""
        return self.metrics.get("val/accuracy")


@dataclass(frozen=True)
class Outcome:
    """What a finalist found on the test split: N rows, D features, K classes.

    Attributes:
        confusion: (K, K) counts, the true class along the rows.
        features: (N, D).
        labels, predictions: (N,) class numbers.
        centroids: (K, D).
        seen: (K,) whether a centroid has been set.
    """

    confusion: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        rows: the table, by group and arm.
        trials: the search's runs, by number.
        finalists: the runs on fresh seeds that belong to `rows`, ended or not, in the order planned.
        statuses: how many trials there are of each status.
        importances: of each searched path; empty while there are too few trials.
        training_labels: for each group the labels trained on, those for validation left out.
        best: the tuned run chosen by validation.
        outcome: what it found on the test split.
        class_names: by class number.
        missing: what the study has not left yet, in words.
    """

    study: Study
    folder: StudyFolder
    rows: list[Row]
    trials: list[RunView]
    finalists: list[RunView]
    statuses: dict[str, int]
    importances: dict[str, float]
    training_labels: dict[Group, int]
    best: RunView | None
    outcome: Outcome | None
    class_names: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def failed(self) -> list[RunRecord]:
        """The runs that failed; each says why."""
        return [view.record for view in (*self.trials, *self.finalists) if view.record.status == "failed"]

    @property
    def groups(self) -> list[Group]:
        """The groups seen so far, lowest first."""
        seen = {self.study.group(view.record.overrides) for view in (*self.trials, *self.finalists)}
        return sorted(seen, key=lambda group: tuple((isinstance(value, str), value) for value in group))


def gather(study: Study, folder: StudyFolder) -> ReportData:
    """Reads a study's folder, however far the study has come."""
    planned, importances = _from_optuna(study, folder)
    trials = [view_run(folder, record) for record in folder.runs("trial")]
    records = {finalist.key: folder.run(finalist.key).record() for finalist in planned}
    finalists = {key: view_run(folder, record) for key, record in records.items() if record is not None}
    best = best_run(study, planned, finalists)
    outcome = _read_outcome(folder, best)
    rows = table(study, folder, planned)
    return ReportData(
        study=study,
        folder=folder,
        rows=rows,
        trials=trials,
        finalists=list(finalists.values()),
        statuses=dict(Counter(str(view.record.status) for view in trials)),
        importances=importances,
        training_labels=_training_labels(folder, planned),
        best=best,
        outcome=outcome,
        class_names=_class_names(study, outcome),
        missing=missing(
            study,
            trials=[view.record for view in trials],
            planned=planned,
            records=records,
            rows=rows,
            outcome_is_lost=best is not None and outcome is None,
        ),
    )


def view_run(folder: StudyFolder, record: RunRecord) -> RunView:
    """The run of this record with its last metrics."""
    history = folder.run(record.key).history()
    return RunView(record, history[-1] if history else {})


def best_run(study: Study, planned: list[Finalist], finalists: dict[str, RunView]) -> RunView | None:
    """Of the tuned finalists: the best seed of the group that is best on average, by the primary objective."""
    groups: dict[Group, list[RunView]] = {}
    for finalist in planned:
        view = finalists.get(finalist.key)
        if finalist.arm == TUNED and view and view.record.status == "complete" and view.metrics:
            groups.setdefault(finalist.group, []).append(view)
    if not groups:
        return None

    def quality(view: RunView) -> float:
        value = view.metrics[study.primary.metric]
        return value if study.primary.direction == "maximize" else -value

    best = max(groups.values(), key=lambda views: statistics.mean(map(quality, views)))
    return max(best, key=quality)


def _from_optuna(study: Study, folder: StudyFolder) -> tuple[list[Finalist], dict[str, float]]:
    if not (folder.path / "optuna.db").exists():
        return [], {}
    opened = search.open_optuna(study, folder)
    best = search.best_by_group(study, opened)
    planned = plan(study, {group: trial.params for group, trial in best.items()})
    return planned, search.importances(study, opened)


def _training_labels(folder: StudyFolder, planned: list[Finalist]) -> dict[Group, int]:
    counts: dict[Group, int] = {}
    for finalist in planned:
        path = folder.run(finalist.key).splits
        if finalist.group not in counts and path.exists():
            counts[finalist.group] = len(Splits.load(path).labeled)
    return counts


def _read_outcome(folder: StudyFolder, best: RunView | None) -> Outcome | None:
    if best is None:
        return None
    try:
        with np.load(folder.run(best.record.key).test_predictions, allow_pickle=False) as arrays:
            return Outcome(**{name: arrays[name] for name in Outcome.__dataclass_fields__})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _class_names(study: Study, outcome: Outcome | None) -> tuple[str, ...]:
    """The data set's names, or numbers where it has none that fit."""
    num_classes: Any = len(outcome.confusion) if outcome else 0
    try:
        names = load_dataset(study.base.data).class_names if outcome else ()
    except SuperCMError:
        names = ()
    return names if len(names) == num_classes else tuple(map(str, range(num_classes)))
