"""The page: one self-contained HTML file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import yaml

from supercm_ray.records import RunView
from supercm_ray.reporting.html import data_uri, fill
from supercm_ray.reporting.significance import Difference
from supercm_ray.reporting.tables import value_text
from supercm_ray.search import Group
from supercm_ray.search.finalists import BASELINE, Row
from supercm_ray.tuning.report.about_data import about_data
from supercm_ray.tuning.report.choices import choices_table, verdicts
from supercm_ray.tuning.report.draw import Drawn
from supercm_ray.tuning.report.text import HEADINGS, SHOWN, gain_text, headline, percent, seeds_text, tested_gains
from supercm_ray.tuning.report.validators import rank_correlations
from supercm_ray.tuning.report.view import ReportData

_PACKAGES = ("supercm-ray", "torch", "ray", "optuna", "mlflow", "numpy", "matplotlib")


def render(data: ReportData, plots: Sequence[Drawn]) -> str:
    """Returns the page as text.

    Args:
        data: the content of the report.
        plots: the plots, in the order of the page.
    """
    study, tested = data.study, tested_gains(data.rows)
    return fill(
        "supercm_ray.tuning.report",
        "page.html",
        data=data,
        study=study,
        headline=headline(study, data.rows, data.training_labels).replace("± ", "±\N{NO-BREAK SPACE}"),
        headings=(*study.group_paths, *HEADINGS[:3], "params", *HEADINGS[3:]),
        shown=SHOWN if any(one.is_shown for one in tested.values()) else "",
        num_group_paths=len(study.group_paths),
        rows=[_row(data, row, tested) for row in data.rows],
        sentences=about_data(study, data.data, has_result=data.best is not None),
        metrics=_shown(data.rows),
        splits=list(data.recalls[0].recall) if data.recalls else [],
        baseline=[f"{path} = {value_text(value)}" for path, value in study.baseline.items()],
        searched=list(study.space),
        correlations=rank_correlations(data.trials),
        seeds=_seeds(data),
        plots=[{"drawn": drawn, "uri": data_uri(drawn.svg)} for drawn in plots],
        trials=[_run(view, [*study.space]) for view in data.trials],
        candidates=[_run(view, [*study.space]) for view in data.candidates],
        finalists=[_run(view, []) for view in data.finalists],
        choices=choices_table(study, data.choices),
        verdicts=verdicts(study, data.choices),
        study_yaml=yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False),
        provenance=_provenance(data),
    )


def _row(data: ReportData, row: Row, tested: Mapping[Group, Difference]) -> dict[str, object]:
    study = data.study
    labels = data.training_labels.get(row.group)
    shown = {path: value for path, value in row.overrides.items() if path not in study.group_paths}
    return {
        "group": [value_text(value) for value in row.group],
        "labels": "–" if labels is None else labels,
        "label_budget": row.label_budget,
        "arm": row.arm,
        "params": {path: value_text(value) for path, value in shown.items()},
        "val": percent(row.val_accuracy),
        "test": "–" if row.test_accuracy is None else percent(row.test_accuracy),
        "metrics": {name: percent(value) for name, value in row.metrics.items()},
        "seeds": seeds_text(row),
        "gain": "" if row.arm == BASELINE else gain_text(row, tested),
    }


def _shown(rows: Sequence[Row]) -> list[str]:
    """Returns the metrics of the second table, those beside accuracy and loss that a row has."""
    names = [name for row in rows for name in row.metrics if not name.endswith(("/accuracy", "/loss"))]
    return list(dict.fromkeys(names))


def _run(view: RunView, paths: Sequence[str]) -> dict[str, object]:
    record = view.record
    test = record.summary.get("test/accuracy")
    return {
        "name": record.key.split("/", 1)[-1],
        "status": record.status,
        "reason": record.reason,
        "values": [value_text(record.overrides.get(path, "–")) for path in paths],
        "arm": record.labels.get("arm", ""),
        "seed": record.params.get("seed", ""),
        "epochs": view.num_epochs,
        "val": "–" if view.val_accuracy is None else f"{100 * view.val_accuracy:.1f}",
        "test": "–" if test is None else f"{100 * test:.1f}",
    }


def _seeds(data: ReportData) -> str:
    first = data.study.base.seed + 1
    last = data.study.base.seed + data.study.num_seeds
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def _provenance(data: ReportData) -> dict[str, str]:
    started = [view.record.started_ms for view in data.every_run if view.record.started_ms]
    ended = [view.record.ended_ms for view in data.every_run if view.record.ended_ms]
    return {
        "study id": data.folder.study_id,
        "identity": data.folder.identity,
        "best run, by validation": data.best.record.key if data.best else "none yet",
        "first run begun": _date(min(started)) if started else "none yet",
        "last run ended": _date(max(ended)) if ended else "none yet",
        "page written": _date(datetime.now(UTC).timestamp() * 1000),
        "written with": f"Python {platform.python_version()}, " + ", ".join(map(_version, _PACKAGES)),
    }


def _date(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} not installed"
