"""The candidates: several parameters of each group that are run on the fresh seeds without the test split, before one
of them is chosen for the finalists.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from supercm_ray.config import Leaf, Study
from supercm_ray.records import RunView
from supercm_ray.search.finalists import Finalist, config_digest, on_seed
from supercm_ray.search.trials import Group, ranked_by_group, sign

CANDIDATE, DEFAULT = "candidate", "default"


@dataclass(frozen=True)
class Candidate:
    """Parameters of a group that are run on every fresh seed before the group's are chosen.

    Attributes:
        overrides: its differences from the study's base, without a seed.
        is_default: whether they are the base's own.
        search_value: the primary metric of the trial that had them; None for a default that the search did not run to
            its end.
        runs: its run on each fresh seed.
    """

    group: Group
    overrides: Mapping[str, Leaf]
    is_default: bool
    search_value: float | None
    runs: tuple[Finalist, ...]


def plan_candidates(study: Study, trials: Sequence[RunView]) -> list[Candidate]:
    """Plans the candidates of each group: the best that differ, at most `num_candidates`, and then the default if it is
    none of these. Empty for a study that has no candidates beside the search's best.
    """
    if study.num_candidates == 1:
        return []
    groups = ranked_by_group(study, trials)
    return [candidate for group, ranked in groups.items() for candidate in _of_group(study, group, ranked)]


def default_overrides(study: Study, group: Group) -> dict[str, Leaf]:
    """Returns the base's own values of the searched paths, with those of a group."""
    leaves = study.base.leaves()  # which lack an option of an algorithm that the base does not have
    return {path: leaves[path] for path in study.space if path in leaves} | dict(
        zip(study.group_paths, group, strict=True)
    )


def chosen_by_group(
    study: Study, candidates: Sequence[Candidate], runs: Mapping[str, RunView]
) -> dict[Group, Candidate]:
    """Returns the candidate that is best on fresh seeds, of each group all of whose candidates have ended: of those
    with the most seeds complete the best mean of the primary objective, and of equal ones the default or else the one
    that the search ranked first. A group without a complete run is left out.
    """
    found = {}
    for group, members in groupby(candidates, key=lambda one: one.group):
        ours = list(members)
        if open_runs(ours, runs):
            continue
        values = [list(values_by_seed(study, one.runs, runs).values()) for one in ours]
        if any(values):
            means = [sign(study) * statistics.mean(one) if one else 0.0 for one in values]
            best = max(range(len(ours)), key=lambda i: (len(values[i]), means[i], ours[i].is_default, -i))
            found[group] = ours[best]
    return found


def open_runs(candidates: Sequence[Candidate], runs: Mapping[str, RunView]) -> list[Finalist]:
    """Returns the candidates' runs that have not ended, in order."""
    every = (run for candidate in candidates for run in candidate.runs)
    return [run for run in every if run.key not in runs or runs[run.key].is_open]


def values_by_seed(study: Study, planned: Sequence[Finalist], runs: Mapping[str, RunView]) -> dict[int, float]:
    """Returns the primary metric of those of these runs that are complete, by seed."""
    known = [runs[one.key] for one in planned if one.key in runs]
    return {
        int(str(run.record.params["seed"])): run.metrics[study.primary.metric]
        for run in known
        if run.record.status == "complete"
    }


def _of_group(study: Study, group: Group, ranked: Sequence[RunView]) -> list[Candidate]:
    default = default_overrides(study, group)
    own = config_digest(study, default)
    found: dict[str, Candidate] = {}
    for trial in ranked:
        digest, value = config_digest(study, trial.record.overrides), trial.metrics[study.primary.metric]
        if digest == own:
            found.setdefault(own, _candidate(study, group, default, is_default=True, search_value=value))
        elif digest not in found:
            found[digest] = _candidate(study, group, trial.record.overrides, search_value=value)
    best = list(found)[: study.num_candidates]
    without_trial = found.get(own, _candidate(study, group, default, is_default=True))
    return [found.get(digest, without_trial) for digest in dict.fromkeys([*best, own])]


def _candidate(
    study: Study,
    group: Group,
    overrides: Mapping[str, Leaf],
    *,
    is_default: bool = False,
    search_value: float | None = None,
) -> Candidate:
    arm = DEFAULT if is_default else CANDIDATE
    runs = (on_seed(study, "candidates", group, arm, {**overrides, "seed": seed}) for seed in study.finalist_seeds)
    return Candidate(group, overrides, is_default, search_value, tuple(runs))
