"""Builds the report of a study: table, plots and one HTML page, from its records on disk."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from supercm_ray.config import Study
from supercm_ray.errors import DamagedError
from supercm_ray.records import StudyFolder, read_text, write_atomically, writing
from supercm_ray.search import Choice, Row, StudyView
from supercm_ray.tuning.report.about_data import about_data
from supercm_ray.tuning.report.choices import choices_text
from supercm_ray.tuning.report.draw import draw_plots
from supercm_ray.tuning.report.page import render
from supercm_ray.tuning.report.table_json import table_tree
from supercm_ray.tuning.report.text import headline, table_text
from supercm_ray.tuning.report.view import ReportData, gather

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes:
        rows: the table, by group and arm; empty before the first finalist has ended.
        choices: how the parameters of each group were chosen.
        text: the table and the headline, for a terminal.
        html: path of the page.
        table_json: path of the unrounded table.
        plots: paths of the plots as PNG files.
        best_run: key of the tuned run chosen by validation.
    """

    rows: list[Row]
    text: str
    html: Path
    table_json: Path
    plots: list[Path]
    best_run: str | None
    choices: list[Choice] = field(default_factory=list)


def build_report(study: Study, folder: StudyFolder, *, plots: bool = True) -> Report:
    """Writes the report of a study into its folder, however far the study has come. If the existing page shows more
    than the files hold, since some were lost, it is kept with a warning.

    Args:
        study: the study as resolved.
        folder: the study's folder.
        plots: whether to draw plots.
    """
    data = gather(StudyView.read(study, folder))
    html, table_json = folder.path / "report.html", folder.path / "table.json"
    best_run = data.best.record.key if data.best else None
    lost = _lost(table_json, data)
    if lost:
        logger.warning("%s shows %s, more than %s holds now; it is left as it is", html, lost, folder.path)
        return Report(data.rows, _text(data), html, table_json, [], best_run, data.choices)
    with writing(folder.path / "plots"):
        drawn = draw_plots(data, folder.path / "plots") if plots else []
    write_atomically(html, render(data, drawn))
    write_atomically(table_json, json.dumps(table_tree(data), indent=1, ensure_ascii=False, allow_nan=False))
    pngs = [plot.png for plot in drawn]
    return Report(data.rows, _text(data), html, table_json, pngs, best_run, data.choices)


def _lost(table_json: Path, data: ReportData) -> str:
    """Returns what the existing report shows and the files of the study no longer hold; empty if there is nothing."""
    try:
        former = TypeAdapter(_Former).validate_json(read_text(table_json) or "{}")
    except (ValueError, DamagedError):  # a damaged file shows nothing
        return ""
    num_finalists = sum(row.num_runs for row in former.rows)
    if sum(row.num_runs for row in data.rows) < num_finalists:
        return f"{num_finalists} finalists"
    if former.trials != data.statuses or sum(row.num_runs for row in data.rows) > num_finalists:
        return ""  # there is more to show than was lost
    if former.classes_of_best_run and not data.recalls:
        return "the test predictions of the best run"
    return "the description of the data" if former.data.counts and not data.data.counts else ""


@dataclass
class _FormerRow:
    num_runs: int


@dataclass
class _FormerData:
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class _Former:
    """What an existing `table.json` must hold for its report to be compared with the files."""

    rows: list[_FormerRow] = field(default_factory=list)
    trials: dict[str, int] = field(default_factory=dict)
    classes_of_best_run: list[object] = field(default_factory=list)
    data: _FormerData = field(default_factory=_FormerData)


def _text(data: ReportData) -> str:
    labels = data.training_labels
    parts = [table_text(data.study, data.rows, labels), headline(data.study, data.rows, labels)]
    parts[1:1] = [choices_text(data.study, data.choices)] if data.choices else []
    return "\n\n".join(
        [*parts, "\n".join(about_data(data.study, data.data, has_result=data.best is not None))]
    ).rstrip()
