"""The reader of a study: reads each record once, whatever is computed from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from supercm_ray.config import Study
from supercm_ray.records import DataSummary, RunView, StudyFolder
from supercm_ray.search.candidates import Candidate, chosen_by_group, open_runs, plan_candidates
from supercm_ray.search.choices import Choice, choices
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
    def candidates(self) -> list[Candidate]:
        """The candidates that follow from the trials so far, by group; none for a study without."""
        return plan_candidates(self.study, self.trials)

    @cached_property
    def candidate_runs(self) -> list[RunView]:
        """The runs of candidates that have been started, in order."""
        keys = [run.key for candidate in self.candidates for run in candidate.runs]
        return [self.runs[key] for key in keys if key in self.runs]

    @cached_property
    def open_candidates(self) -> list[Finalist]:
        """The runs of candidates that have not ended."""
        return open_runs(self.candidates, self.runs)

    @cached_property
    def planned(self) -> list[Finalist]:
        """The finalists that follow from the trials so far and, if there are candidates, from their runs: those of the
        groups all of whose candidates have ended.
        """
        if self.study.num_candidates > 1:
            chosen = chosen_by_group(self.study, self.candidates, self.runs)
            return plan_finalists(self.study, {group: candidate.overrides for group, candidate in chosen.items()})
        best = best_by_group(self.study, self.trials)
        return plan_finalists(self.study, {group: trial.record.overrides for group, trial in best.items()})

    @cached_property
    def plan(self) -> list[Finalist]:
        """The finalists as stored before the first was begun, or else those that follow from the records so far."""
        stored = load_plan(self.folder)
        return self.planned if stored is None else stored

    @cached_property
    def finalists(self) -> list[RunView]:
        """The finalists of the plan that have been started, in its order."""
        return [self.runs[finalist.key] for finalist in self.plan if finalist.key in self.runs]

    @cached_property
    def open_finalists(self) -> list[Finalist]:
        """The finalists that follow from the records and have not ended."""
        return [one for one in self.planned if one.key not in self.runs or self.runs[one.key].is_open]

    @cached_property
    def rows(self) -> list[Row]:
        """The table, by group and arm."""
        return table(self.study, self.plan, self.runs)

    @cached_property
    def choices(self) -> list[Choice]:
        """How the parameters of each group that has a run on a fresh seed were chosen."""
        return choices(self.study, self.trials, self.plan, self.candidates, self.runs)

    @cached_property
    def data(self) -> DataSummary:
        """The description of the data, as stored when the study was started; empty if it is not known."""
        return self.folder.data_summary()
