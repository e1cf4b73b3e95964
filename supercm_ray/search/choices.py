"""How the parameters of each group were chosen: what validation said of them in the search and on fresh seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from supercm_ray.config import Study
from supercm_ray.records import RunView
from supercm_ray.search.candidates import Candidate, chosen_by_group, values_by_seed
from supercm_ray.search.finalists import TUNED, Finalist
from supercm_ray.search.trials import Group, ranked_by_group, sign


@dataclass(frozen=True)
class Choice:
    """The choice of a group's parameters, in values of the primary metric.

    Attributes:
        search_value: that of the search's best parameters, on the search's seed.
        fresh_values: that of the same parameters by fresh seed, of complete runs; empty if none is.
        optimism: how much better the former is than the mean of the latter; None without the latter.
        chosen_values: that of the chosen candidate by fresh seed; empty without candidates, and while none is chosen.
        default_values: that of the default by fresh seed; likewise.
        is_default: whether the default was chosen.
        num_compared: number of candidates, the default included; 1 without candidates.
        num_failed: number of their runs that failed.
    """

    group: Group
    search_value: float
    fresh_values: Mapping[int, float]
    optimism: float | None
    chosen_values: Mapping[int, float] = field(default_factory=dict)
    default_values: Mapping[int, float] = field(default_factory=dict)
    is_default: bool = False
    num_compared: int = 1
    num_failed: int = 0


def choices(
    study: Study,
    trials: Sequence[RunView],
    plan: Sequence[Finalist],
    candidates: Sequence[Candidate],
    runs: Mapping[str, RunView],
) -> list[Choice]:
    """Returns the choice in each group that has a run on a fresh seed.

    Args:
        study: the study.
        trials: the runs of the search.
        plan: the finalists, whose tuned arm was chosen.
        candidates: the candidates; empty for a study without them.
        runs: every run by its key.
    """
    made = _among(study, candidates, runs) if candidates else _alone(study, trials, plan, runs)
    return [one for one in made if one.fresh_values or one.chosen_values]


def _alone(
    study: Study, trials: Sequence[RunView], plan: Sequence[Finalist], runs: Mapping[str, RunView]
) -> Iterator[Choice]:
    """Returns the choice of each group in which the search's best parameters are the finalists'."""
    ranked = ranked_by_group(study, trials)
    for group, members in groupby((one for one in plan if one.arm == TUNED), key=lambda one: one.group):
        ours = list(members)
        params = {path: value for path, value in ours[0].overrides.items() if path != "seed"}
        trial = next((one for one in ranked.get(group, ()) if one.record.overrides == params), None)
        if trial is not None:
            value, fresh = trial.metrics[study.primary.metric], values_by_seed(study, ours, runs)
            yield Choice(group, value, fresh, _optimism(study, value, fresh))


def _among(study: Study, candidates: Sequence[Candidate], runs: Mapping[str, RunView]) -> Iterator[Choice]:
    """Returns the choice of each group among its candidates."""
    chosen = chosen_by_group(study, candidates, runs)
    for group, members in groupby(candidates, key=lambda one: one.group):
        ours = list(members)
        value, fresh = ours[0].search_value, values_by_seed(study, ours[0].runs, runs)
        assert value is not None  # of the search's best, which comes first
        best = chosen.get(group)
        default = next(one for one in ours if one.is_default)
        known = [runs[run.key].record for one in ours for run in one.runs if run.key in runs]
        yield Choice(
            group,
            value,
            fresh,
            _optimism(study, value, fresh),
            chosen_values={} if best is None else values_by_seed(study, best.runs, runs),
            default_values={} if best is None else values_by_seed(study, default.runs, runs),
            is_default=best is not None and best.is_default,
            num_compared=len(ours),
            num_failed=sum(record.status == "failed" for record in known),
        )


def _optimism(study: Study, value: float, fresh: Mapping[int, float]) -> float | None:
    return sign(study) * (value - statistics.mean(fresh.values())) if fresh else None
