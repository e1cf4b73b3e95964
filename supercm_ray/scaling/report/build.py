"""Writes the report of a scaling study, from its measurements alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from supercm_ray.records import write_atomically
from supercm_ray.reporting.html import data_uri, fill
from supercm_ray.reporting.style import save_png, to_svg
from supercm_ray.scaling.analysis import Analysis, analyse
from supercm_ray.scaling.measurements import FILE_NAME, load_measurements
from supercm_ray.scaling.report import plots as draw
from supercm_ray.scaling.report import table
from supercm_ray.scaling.report.comparison import compare_text
from supercm_ray.scaling.report.sentences import sentences

PAGE_NAME = "scaling.html"
"""Name of the page in a scaling study's folder."""


@dataclass(frozen=True)
class ScalingReport:
    """The files of a scaling study's report.

    Attributes:
        text: the table and the sentences below it, for a terminal.
        html: path of the page.
        table_json: path of the unrounded table.
        plots: paths of the plots as PNG files.
        measurements: path of the file that the report was made from.
    """

    text: str
    html: Path
    table_json: Path
    plots: list[Path]
    measurements: Path


@dataclass(frozen=True)
class _Plot:
    """A plot with its file's name, title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure


def build_scaling_report(measurements: Path, *, plots: bool = True) -> ScalingReport:
    """Writes table, plots and page of a scaling study beside its measurements.

    Args:
        measurements: path of the file of measurements.
        plots: whether to draw plots.

    Raises:
        StudyError: if that file cannot be used.
    """
    found, folder = analyse(load_measurements(measurements)), measurements.parent
    drawn = list(_draw(found)) if plots else []
    (folder / "plots").mkdir(exist_ok=True)
    pngs = [save_png(plot.figure, folder / "plots" / f"{plot.name}.png") for plot in drawn]
    html, table_json = folder / PAGE_NAME, folder / "table.json"
    write_atomically(html, _render(found, drawn))
    write_atomically(table_json, json.dumps(table.table_tree(found), indent=1, ensure_ascii=False))
    return ScalingReport(table.table_text(found), html, table_json, pngs, measurements)


def compare(first: Path, second: Path) -> str:
    """Compares two scaling studies, as text.

    Args:
        first: the file of measurements of one study, or its folder.
        second: that of the other.

    Raises:
        StudyError: if one of them cannot be used.
    """
    paths = [path / FILE_NAME if path.is_dir() else path for path in (first, second)]
    return compare_text(*(analyse(load_measurements(path)) for path in paths))


def _draw(found: Analysis) -> Iterator[_Plot]:
    if found.points:
        caption = (
            "Each dot is a repetition. The lines are the best speedup model and those with ΔAICc < 2, solid within the "
            "measurements, drawn no further than twice the largest number of workers. Triangles are simulated on an "
            "assumed network, not measured."
        )
        yield _Plot("throughput", "How far it scales", caption, draw.throughput(found))
        caption = (
            "Speedup divided by workers: each dot is a repetition, the blue line goes through their medians, with the "
            "best speedup model and the efficiency floor of the recommendation."
        )
        yield _Plot("efficiency", "Efficiency", caption, draw.efficiency(found))
        caption = (
            "Median step by parts: computing, communication once all workers are there, waiting for stragglers, and "
            "making batches ready."
        )
        yield _Plot("breakdown", "Where the time goes", caption, draw.breakdown(found))
        caption = "The whole job with each number of workers, its start-up included. Down and to the left is better."
        yield _Plot("cost", "Cost against time", caption, draw.cost_against_time(found))
    if found.measured.tuning:
        caption = (
            "The best value of the objective by the time since the first trial began, the start of trial processes "
            "included, a line for each search."
        )
        yield _Plot("tuning", "Best value against time", caption, draw.tuning(found))


def _render(found: Analysis, drawn: Sequence[_Plot]) -> str:
    shown = [
        {"name": plot.name, "title": plot.title, "caption": plot.caption, "uri": data_uri(to_svg(plot.figure))}
        for plot in drawn
    ]
    said = sentences(found)
    headed = bool(found.choice or found.tuning)
    return fill(
        "supercm_ray.scaling.report",
        "page.html",
        measured=found.measured,
        headline=said[0] if headed else "No step was timed.",
        sentences=said[1:] if headed else said,
        single=1 in found.throughputs,
        headings=table.headings(found),
        rows=table.cells(found),
        parts_note=table.PARTS_NOTE,
        tuning=table.tuning_cells(found),
        tuning_headings=table.TUNING_HEADINGS,
        chosen=found.choice,
        plots=shown,
        measurements_json=found.measured.model_dump_json(indent=1),
    )
