"""The last round: the best setting of each factor level and its control, on fresh seeds, with the test split open."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.study import Study

TUNED, CONTROL = "tuned", "control"


@dataclass(frozen=True)
class Finalist:
    """One run to make: a setting of an arm on a seed."""

    key: str
    arm: str
    level: tuple[Any, ...]
    assignments: dict[str, Any]

    @property
    def labels(self) -> dict[str, Any]:
        """What its record and MLflow run are found by."""
        return {"arm": self.arm, "level": list(self.level)}


@dataclass(frozen=True)
class Row:
    """A row of the study's table: an arm at a factor level, mean and standard deviation over seeds.

    Attributes:
        level: the values of the study's factors.
        label_budget: labels used, those for validation included.
        num_runs: seeds that came to their end, of `num_seeds`.
        gains: tuned minus control on the test split, seed by seed; empty for the control itself.
    """

    level: tuple[Any, ...]
    arm: str
    assignments: dict[str, Any]
    label_budget: int
    num_runs: int
    num_seeds: int
    val_accuracy: tuple[float, float]
    test_accuracy: tuple[float, float]
    gains: tuple[float, ...]


def plan(study: Study, best: Mapping[tuple[Any, ...], dict[str, Any]]) -> list[Finalist]:
    """The runs of the last round, on the seeds after the base's, on which settings were chosen."""
    arms = {TUNED: {}, **({CONTROL: study.control} if study.control else {})}
    seeds = [study.base.seed + 1 + i for i in range(study.num_seeds)]
    return [
        _finalist(study, level, arm, {**assignments, **overrides, "seed": seed})
        for level, assignments in best.items()
        for arm, overrides in arms.items()
        for seed in seeds
    ]


def table(study: Study, folder: StudyFolder, finalists: list[Finalist]) -> list[Row]:
    """The rows for these finalists, by level and arm, from their records."""
    records = {finalist.key: folder.run(finalist.key).record() for finalist in finalists}
    groups: dict[tuple[tuple[Any, ...], str], list[Finalist]] = {}
    for finalist in finalists:
        groups.setdefault((finalist.level, finalist.arm), []).append(finalist)
    rows = []
    for (level, arm), members in groups.items():
        done = [record for member in members if (record := records[member.key]) and record.status == "complete"]
        if not done:
            continue
        control = groups.get((level, CONTROL), []) if arm == TUNED else []
        rows.append(
            Row(
                level=level,
                arm=arm,
                assignments={path: value for path, value in members[0].assignments.items() if path != "seed"},
                label_budget=done[0].label_budget,
                num_runs=len(done),
                num_seeds=len(members),
                val_accuracy=_mean_std([folder.run(record.key).history()[-1]["val/accuracy"] for record in done]),
                test_accuracy=_mean_std([record.summary["test/accuracy"] for record in done]),
                gains=_paired_gains(done, [records[member.key] for member in control]),
            )
        )
    return rows


def _finalist(study: Study, level: tuple[Any, ...], arm: str, assignments: dict[str, Any]) -> Finalist:
    config = study.base.replace(assignments)
    digest = hashlib.sha256(json.dumps(config.leaves(), sort_keys=True).encode()).hexdigest()[:6]
    place = "".join(f"{path.split('.')[-1]}={value}-" for path, value in zip(study.factors, level, strict=True))
    return Finalist(f"finalists/{place}{arm}-seed{assignments['seed']}-{digest}", arm, level, assignments)


def _paired_gains(tuned: list[RunRecord], control: list[RunRecord | None]) -> tuple[float, ...]:
    others = {record.params["seed"]: record for record in control if record and record.status == "complete"}
    pairs = [(record, others[record.params["seed"]]) for record in tuned if record.params["seed"] in others]
    return tuple(a.summary["test/accuracy"] - b.summary["test/accuracy"] for a, b in pairs)


def _mean_std(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")
