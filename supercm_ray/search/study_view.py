"""The reader of a study: reads each record once, whatever is computed from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from supercm_ray.config import Study
from supercm_ray.records import RunView, StudyFolder
from supercm_ray.search.finalists import Finalist, Row, load_plan, plan_finalists, table
from supercm_ray.search.trials import best_by_group, importances


@dataclass(frozen=True)
class StudyView:
    """The results of a study so far, read from disk.

    Attributes:
        runs: every run by its key, sorted by key.
    """

    study: Study
    folder: StudyFolder
    runs: Mapping[str, RunView] = field(repr=False)

    @classmethod
    def read(cls, study: Study, folder: StudyFolder) -> StudyView:
        """Reads the records of a study."""
        return cls(study, folder, {view.record.key: view for view in folder.views()})

    @cached_property
    def trials(self) -> list[RunView]:
        """The runs of the search, by number."""
        return sorted((run for run in self.runs.values() if run.record.kind == "trial"), key=lambda run: run.number)

    @cached_property
    def statuses(self) -> dict[str, int]:
        """Number of trials of each status."""
        return dict(Counter(str(trial.record.status) for trial in self.trials))

    @cached_property
    def importances(self) -> dict[str, float]:
        """Importance of each searched path for the primary objective; empty if there are too few trials."""
        return importances(self.study, self.trials)

    @cached_property
    def planned(self) -> list[Finalist]:
        """The finalists that follow from the trials so far."""
        best = best_by_group(self.study, self.trials)
        return plan_finalists(self.study, {group: trial.record.overrides for group, trial in best.items()})

    @cached_property
    def plan(self) -> list[Finalist]:
        """The finalists as stored at the end of the search, or else those that follow from the trials so far."""
        stored = load_plan(self.folder)
        return self.planned if stored is None else stored

    @cached_property
    def finalists(self) -> list[RunView]:
        """The finalists of the plan that have been started, in its order."""
        return [self.runs[finalist.key] for finalist in self.plan if finalist.key in self.runs]

    @cached_property
    def open_finalists(self) -> list[Finalist]:
        """The finalists that follow from the trials and have not ended."""
        return [one for one in self.planned if one.key not in self.runs or self.runs[one.key].is_open]

    @cached_property
    def rows(self) -> list[Row]:
        """The table, by group and arm."""
        return table(self.study, self.plan, self.runs)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the data set's classes, as stored when the study was started; empty if they are not known."""
        return tuple(map(str, self._described.get("class_names", ())))

    @cached_property
    def val_class_counts(self) -> tuple[int, ...]:
        """The number of validation samples of each class, as stored likewise; empty if they are not known."""
        return tuple(map(int, self._described.get("val_class_counts", ())))

    @cached_property
    def _described(self) -> dict[str, list[str | int]]:
        """What `describe_data` has stored."""
        described: dict[str, list[str | int]] = json.loads(self.folder.read("data.json") or "{}")
        return described
