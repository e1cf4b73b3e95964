"""The report of a study: table, plots and one HTML page, made from what the study has left on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder, write_atomically
from supercm_ray.search import Row, StudyView
from supercm_ray.tuning.report.draw import draw_plots
from supercm_ray.tuning.report.page import render
from supercm_ray.tuning.report.table_json import table_tree
from supercm_ray.tuning.report.text import finding, table_text
from supercm_ray.tuning.report.view import ReportData, gather


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        rows: the table, by group and arm; empty before the first finalist's end.
        text: the table and the finding, for a terminal.
        html: the page.
        table_json: the table's numbers.
        plots: PNG files.
        best_run: the key of the tuned run chosen by validation.
    """

    rows: list[Row]
    text: str
    html: Path
    table_json: Path
    plots: list[Path]
    best_run: str | None


def build_report(study: Study, folder: StudyFolder, *, plots: bool = True) -> Report:
    """Writes the report of a study into its folder, however far the study has come.

    Args:
        study: as resolved.
        folder: what it has left so far.
        plots: whether to draw any.
    """
    data = gather(StudyView.read(study, folder))
    drawn = draw_plots(data, folder.path / "plots") if plots else []
    html, table_json = folder.path / "report.html", folder.path / "table.json"
    write_atomically(html, render(data, drawn))
    write_atomically(table_json, json.dumps(table_tree(data), indent=1, ensure_ascii=False, allow_nan=False))
    best_run = data.best.record.key if data.best else None
    return Report(data.rows, _text(data), html, table_json, [figure.png for figure in drawn], best_run)


def _text(data: ReportData) -> str:
    labels = data.training_labels
    return f"{table_text(data.study, data.rows, labels)}\n\n{finding(data.study, data.rows, labels)}"
