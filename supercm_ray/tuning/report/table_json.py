"""The table as a tree for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from supercm_ray.reporting.significance import Difference
from supercm_ray.search import Group
from supercm_ray.search.finalists import Row
from supercm_ray.tuning.report.about_data import about_data
from supercm_ray.tuning.report.choices import choices_tree
from supercm_ray.tuning.report.text import gain, headline, tested_gains
from supercm_ray.tuning.report.view import ReportData


def table_tree(data: ReportData) -> dict[str, object]:
    """Returns every number of the page's table, unrounded; a standard deviation of a single value is null."""
    tested = tested_gains(data.rows)
    return {
        "study": data.study.name,
        "study_id": data.folder.study_id,
        "identity": data.folder.identity,
        "headline": headline(data.study, data.rows, data.training_labels),
        "best_run": data.best.record.key if data.best else None,
        "trials": data.statuses,
        "importances": data.importances,
        "incomplete": list(data.incomplete),
        "data": {
            "counts": dict(data.data.counts),
            "sentences": list(about_data(data.study, data.data, has_result=data.best is not None)),
        },
        "val_majority": asdict(data.majority) if data.majority else None,
        "classes_of_best_run": [asdict(one) for one in data.recalls],
        "rows": [_row(data, row, tested) for row in data.rows],
        "choices": choices_tree(data.study, data.choices),
    }


def _row(data: ReportData, row: Row, tested: Mapping[Group, Difference]) -> dict[str, object]:
    return {
        "group": dict(zip(data.study.group_paths, row.group, strict=True)),
        "arm": row.arm,
        "overrides": row.overrides,
        "training_labels": data.training_labels.get(row.group),
        "label_budget": row.label_budget,
        "num_runs": row.num_runs,
        "num_seeds": row.num_seeds,
        "val_accuracy": _value(row.val_accuracy),
        "test_accuracy": _value(row.test_accuracy),
        "gains_on": "validation" if row.test_accuracy is None else "test",
        "metrics": {name: _value(value) for name, value in row.metrics.items()},
        "gains": list(row.gains),
        "gain": _value(gain(row)),
        "gain_test": asdict(tested[row.group]) if row.gains else None,
    }


def _value(value: tuple[float, float] | None) -> dict[str, float | None] | None:
    if value is None:
        return None
    return {"mean": value[0], "std": None if math.isnan(value[1]) else value[1]}
