"""The content of a report, gathered once from the study's records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from supercm_ray.config import Study
from supercm_ray.errors import DamagedError, StorageError
from supercm_ray.records import DataSummary, RunRecord, RunView, StudyFolder, read_arrays, reading
from supercm_ray.search import TUNED, Choice, Finalist, Group, Row, StudyView
from supercm_ray.tuning.report.classes import ClassRecall, Majority, majority, recalls
from supercm_ray.tuning.report.incomplete import incomplete


def _no_counts() -> npt.NDArray[np.int64]:
    return np.zeros((0, 0), np.int64)


@dataclass(frozen=True)
class StoredPredictions:
    """The predictions of a finalist on the test split: N samples, D features, K classes. All is empty where there is no
    test split, except for `val_confusion`.

    Attributes:
        confusion: (K, K) counts by true class (rows) and predicted class.
        val_confusion: the same for the validation split; empty in a record of an earlier version.
        features: (N, D).
        labels, predictions: (N,) class indices.
        centroids: (K, D).
        seen: (K,) whether a centroid has been set.
    """

    confusion: npt.NDArray[np.int64] = field(default_factory=_no_counts)
    features: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    predictions: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    centroids: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    seen: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    val_confusion: npt.NDArray[np.int64] = field(default_factory=_no_counts)

    @property
    def has_test(self) -> bool:
        """Whether there are predictions on the test split."""
        return len(self.confusion) > 0

    @property
    def confusions(self) -> dict[str, npt.NDArray[np.int64]]:
        """The confusions by split: `val`, `test` or both."""
        found = {"val": self.val_confusion, "test": self.confusion}
        return {split: confusion for split, confusion in found.items() if len(confusion)}


_OF_TEST = {one.name for one in fields(StoredPredictions)} - {"val_confusion"}


@dataclass(frozen=True)
class ReportData:
    """The content of a report.

    Attributes:
        rows: the table, by group and arm.
        trials: the search's runs, by number.
        candidates: the runs of candidates, ended or not, in the order planned.
        finalists: the runs on fresh seeds that belong to `rows`, ended or not, in the order planned.
        choices: how the parameters of each group were chosen.
        statuses: number of trials of each status.
        importances: importance of each searched path; empty if there are too few trials.
        training_labels: for each group the number of labels trained on, those for validation excluded.
        best: the tuned run chosen by validation.
        predictions: what it predicted on the splits that it was evaluated on.
        class_names: names by class index.
        data: the description of the study's data.
        majority: the largest class of the validation split, if known.
        recalls: the recall of each class by the best run.
        incomplete: sentences about what the study has not produced yet.
    """

    study: Study
    folder: StudyFolder
    rows: list[Row]
    trials: list[RunView]
    candidates: list[RunView]
    finalists: list[RunView]
    choices: list[Choice]
    statuses: dict[str, int]
    importances: dict[str, float]
    training_labels: dict[Group, int]
    best: RunView | None
    predictions: StoredPredictions | None
    class_names: tuple[str, ...]
    data: DataSummary
    majority: Majority | None
    recalls: list[ClassRecall]
    incomplete: tuple[str, ...]

    @property
    def failed(self) -> list[RunRecord]:
        """The runs that failed, each with its reason."""
        return [view.record for view in self.every_run if view.record.status == "failed"]

    @property
    def every_run(self) -> list[RunView]:
        """The runs of the study: trials, then candidates, then finalists."""
        return [*self.trials, *self.candidates, *self.finalists]

    @property
    def groups(self) -> list[Group]:
        """The groups seen so far, in ascending order."""
        seen = {self.study.group(view.record.overrides) for view in self.every_run}
        return sorted(seen, key=lambda group: tuple((isinstance(value, str), value) for value in group))


def gather(view: StudyView) -> ReportData:
    """Gathers the content of a study's report, however far the study has come."""
    study = view.study
    records = {run.record.key: run.record for run in (*view.candidate_runs, *view.finalists)}
    best = best_run(study, view.plan, view.runs)
    predictions = _read_predictions(view.folder, best)
    class_names = _class_names(view, predictions)
    return ReportData(
        study=study,
        folder=view.folder,
        rows=view.rows,
        trials=view.trials,
        candidates=view.candidate_runs,
        finalists=view.finalists,
        choices=view.choices,
        statuses=view.statuses,
        importances=view.importances,
        training_labels={row.group: row.num_labeled for row in view.rows},
        best=best,
        predictions=predictions,
        class_names=class_names,
        data=view.data,
        majority=majority(view.data.val_class_counts, view.data.class_names),
        recalls=recalls(predictions.confusions, class_names) if predictions else [],
        incomplete=incomplete(
            study,
            trials=[trial.record for trial in view.trials],
            candidates=[run for candidate in view.candidates for run in candidate.runs],
            planned=view.plan,
            records=records,
            rows=view.rows,
            predictions_are_lost=best is not None and predictions is None and view.data.has_test,
        ),
    )


def best_run(study: Study, planned: Sequence[Finalist], runs: Mapping[str, RunView]) -> RunView | None:
    """Returns, of the tuned finalists, the best seed of the group that is best on average, by the primary objective."""
    groups: dict[Group, list[RunView]] = {}
    for finalist in planned:
        view = runs.get(finalist.key)
        if finalist.arm == TUNED and view and view.record.status == "complete" and view.metrics:
            groups.setdefault(finalist.group, []).append(view)
    if not groups:
        return None

    def quality(view: RunView) -> float:
        value = view.metrics[study.primary.metric]
        return value if study.primary.direction == "maximize" else -value

    best = max(groups.values(), key=lambda views: statistics.mean(map(quality, views)))
    return max(best, key=quality)


def _read_predictions(folder: StudyFolder, best: RunView | None) -> StoredPredictions | None:
    if best is None:
        return None
    path = folder.run(best.record.key).test_predictions
    try:
        with reading(path):
            arrays: dict[str, Any] = read_arrays(path, "the page is made without them")
            known = [one.name for one in fields(StoredPredictions) if one.name in arrays]
            if set(known) not in ({"val_confusion"}, _OF_TEST, _OF_TEST | {"val_confusion"}):
                return None
            return StoredPredictions(**{name: arrays[name] for name in known})
    except (DamagedError, StorageError):
        return None


def _class_names(view: StudyView, predictions: StoredPredictions | None) -> tuple[str, ...]:
    """Returns the data set's names of classes, or numbers if it has no names that fit."""
    num_classes = len(next(iter(predictions.confusions.values()))) if predictions else 0
    names = view.data.class_names
    return names if len(names) == num_classes else tuple(map(str, range(num_classes)))
