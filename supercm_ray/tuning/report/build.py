"""Builds the report of a study: table, plots and one HTML page, from its records on disk."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder, read_text, write_atomically
from supercm_ray.search import Row, StudyView
from supercm_ray.tuning.report.about_data import about_data
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


def build_report(study: Study, folder: StudyFolder, *, plots: bool = True) -> Report:
    """Writes the report of a study into its folder, however far the study has come. If the existing page shows more
    finalists than the records hold, since some were lost, it is kept with a warning.

    Args:
        study: the study as resolved.
        folder: the study's folder.
        plots: whether to draw plots.
    """
    data = gather(StudyView.read(study, folder))
    html, table_json = folder.path / "report.html", folder.path / "table.json"
    best_run = data.best.record.key if data.best else None
    former = _finalists_in(table_json)
    if sum(row.num_runs for row in data.rows) < former:
        logger.warning(
            "%s shows %d finalists, more than the records in %s hold now; it is left as it is",
            html,
            former,
            folder.path,
        )
        return Report(data.rows, _text(data), html, table_json, [], best_run)
    drawn = draw_plots(data, folder.path / "plots") if plots else []
    write_atomically(html, render(data, drawn))
    write_atomically(table_json, json.dumps(table_tree(data), indent=1, ensure_ascii=False, allow_nan=False))
    return Report(data.rows, _text(data), html, table_json, [plot.png for plot in drawn], best_run)


def _finalists_in(table_json: Path) -> int:
    """Returns the number of finalists that the existing report shows."""
    try:
        return sum(int(row["num_runs"]) for row in json.loads(read_text(table_json) or "{}").get("rows", []))
    except (ValueError, KeyError, TypeError):  # a damaged file shows none
        return 0


def _text(data: ReportData) -> str:
    labels = data.training_labels
    parts = [table_text(data.study, data.rows, labels), headline(data.study, data.rows, labels)]
    return "\n\n".join(
        [*parts, "\n".join(about_data(data.study, data.data, has_result=data.best is not None))]
    ).rstrip()
