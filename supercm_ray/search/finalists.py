"""The last round: the best setting of each group and its baseline, on fresh seeds, with the test split open."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supercm_ray.config import Study
from supercm_ray.records import RunRecord, StudyFolder

TUNED, BASELINE = "tuned", "baseline"


@dataclass(frozen=True)
class Finalist:
    """One run to make: a setting of an arm on a seed."""

    key: str
    arm: str
    group: tuple[Any, ...]
    overrides: dict[str, Any]

    @property
    def labels(self) -> dict[str, Any]:
        """What its record and MLflow run are found by."""
        return {"arm": self.arm, "group": list(self.group)}


@dataclass(frozen=True)
class Row:
    """A row of the study's table: an arm at a group, mean and standard deviation over seeds.

    Attributes:
        group: the values of the study's group_paths.
        label_budget: labels used, those for validation included.
        num_runs: seeds that came to their end, of `num_seeds`.
        gains: tuned minus baseline on the test split, seed by seed; empty for the baseline itself.
    """

    group: tuple[Any, ...]
    arm: str
    overrides: dict[str, Any]
    label_budget: int
    num_runs: int
    num_seeds: int
    val_accuracy: tuple[float, float]
    test_accuracy: tuple[float, float]
    gains: tuple[float, ...]


def plan(study: Study, best: Mapping[tuple[Any, ...], dict[str, Any]]) -> list[Finalist]:
    """The runs of the last round, on the seeds after the base's, on which settings were chosen."""
    arms = {TUNED: {}, **({BASELINE: study.baseline} if study.baseline else {})}
    seeds = [study.base.seed + 1 + i for i in range(study.num_seeds)]
    return [
        _finalist(study, group, arm, {**params, **overrides, "seed": seed})
        for group, params in best.items()
        for arm, overrides in arms.items()
        for seed in seeds
    ]


def table(study: Study, folder: StudyFolder, finalists: list[Finalist]) -> list[Row]:
    """The rows for these finalists, by group and arm, from their records."""
    records = {finalist.key: folder.run(finalist.key).record() for finalist in finalists}
    groups: dict[tuple[tuple[Any, ...], str], list[Finalist]] = {}
    for finalist in finalists:
        groups.setdefault((finalist.group, finalist.arm), []).append(finalist)
    rows = []
    for (group, arm), members in groups.items():
        done = [record for member in members if (record := records[member.key]) and record.status == "complete"]
        if not done:
            continue
        baseline = groups.get((group, BASELINE), []) if arm == TUNED else []
        rows.append(
            Row(
                group=group,
                arm=arm,
                overrides={path: value for path, value in members[0].overrides.items() if path != "seed"},
                label_budget=done[0].label_budget,
                num_runs=len(done),
                num_seeds=len(members),
                val_accuracy=_mean_std([folder.run(record.key).history()[-1]["val/accuracy"] for record in done]),
                test_accuracy=_mean_std([record.summary["test/accuracy"] for record in done]),
                gains=_paired_gains(done, [records[member.key] for member in baseline]),
            )
        )
    return rows


def _finalist(study: Study, group: tuple[Any, ...], arm: str, overrides: dict[str, Any]) -> Finalist:
    config = study.base.replace(overrides)
    digest = hashlib.sha256(json.dumps(config.leaves(), sort_keys=True).encode()).hexdigest()[:6]
    place = "".join(f"{path.split('.')[-1]}={value}-" for path, value in zip(study.group_paths, group, strict=True))
    return Finalist(f"finalists/{place}{arm}-seed{overrides['seed']}-{digest}", arm, group, overrides)


def _paired_gains(tuned: list[RunRecord], baseline: list[RunRecord | None]) -> tuple[float, ...]:
    others = {record.params["seed"]: record for record in baseline if record and record.status == "complete"}
    pairs = [(record, others[record.params["seed"]]) for record in tuned if record.params["seed"] in others]
    return tuple(a.summary["test/accuracy"] - b.summary["test/accuracy"] for a, b in pairs)


def _mean_std(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")
