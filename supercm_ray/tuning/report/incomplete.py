"""Sentences about what a study has not produced yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from supercm_ray.config import Study
from supercm_ray.records import RunRecord
from supercm_ray.search.finalists import BASELINE, TUNED, Finalist, Row

_ENDED = ("complete", "pruned", "failed")


def incomplete(
    study: Study,
    *,
    trials: Sequence[RunRecord],
    candidates: Sequence[Finalist],
    planned: Sequence[Finalist],
    records: Mapping[str, RunRecord | None],
    rows: Sequence[Row],
    predictions_are_lost: bool,
) -> tuple[str, ...]:
    """Returns a sentence for each thing that a finished study has and this one lacks."""
    found = [
        *_about_trials(study, trials),
        *_about_finalists(candidates, records, "candidates' runs"),
        *_about_finalists(planned, records, "runs"),
        *_about_arms(study, rows),
    ]
    if predictions_are_lost:
        found.append("The arrays of the best run (test_predictions.npz) are missing or cannot be read.")
    return tuple(found)


def _about_trials(study: Study, trials: Sequence[RunRecord]) -> list[str]:
    if not trials:
        return ["No trial has begun yet."]
    found = []
    ended = sum(record.status in _ENDED for record in trials)
    if ended < study.budget.num_trials:
        found.append(f"{ended} of {study.budget.num_trials} trials have ended.")
    complete = sum(record.status == "complete" for record in trials)
    if not complete:
        found.append("No trial has used its full budget yet, so there are no parameters to run on fresh seeds.")
    if complete < 4:
        found.append("Importances need four trials that used their full budget and differ in their result.")
    return found


def _about_finalists(planned: Sequence[Finalist], records: Mapping[str, RunRecord | None], what: str) -> list[str]:
    statuses = Counter(
        record.status if record else "not begun" for record in map(records.get, (f.key for f in planned))
    )
    open_ones = {status: count for status, count in statuses.items() if status != "complete"}
    if not open_ones:
        return []
    details = ", ".join(f"{count} {status}" for status, count in sorted(open_ones.items()))
    return [f"{statuses['complete']} of {len(planned)} {what} on fresh seeds are complete ({details})."]


def _about_arms(study: Study, rows: Sequence[Row]) -> list[str]:
    if not study.baseline:
        return ["The study has no baseline, so there is no gain."]
    arms: dict[str, set[tuple[object, ...]]] = {
        arm: {row.group for row in rows if row.arm == arm} for arm in (TUNED, BASELINE)
    }
    lacking = {BASELINE: arms[TUNED] - arms[BASELINE], TUNED: arms[BASELINE] - arms[TUNED]}
    return [
        f"The {arm} arm has no complete run at {_groups(study, groups)}." for arm, groups in lacking.items() if groups
    ]


def _groups(study: Study, groups: set[tuple[object, ...]]) -> str:
    if not study.group_paths:
        return "all"
    return "; ".join(
        ", ".join(f"{path} = {value}" for path, value in zip(study.group_paths, group, strict=True))
        for group in sorted(groups, key=str)
    )
