"""The report of a scaling study, made from its raw figures alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from supercm_ray.records import write_atomically
from supercm_ray.report.html import data_uri, fill
from supercm_ray.report.style import save_png, to_svg
from supercm_ray.scaling import Analysis, analyse, load_raw
from supercm_ray.scaling.report import plots, table
from supercm_ray.scaling.report.comparison import compare_text
from supercm_ray.scaling.report.sentences import sentences


@dataclass(frozen=True)
class ScalingReport:
    """What was written.

    Attributes:
        text: the table and what follows from it, for a terminal.
        html: the page.
        table_json: the table's figures.
        figures: PNG files.
        raw: the file that all of it was made from.
    """

    text: str
    html: Path
    table_json: Path
    figures: list[Path]
    raw: Path


def build_scaling_report(raw: Path, *, plots: bool = True) -> ScalingReport:
    """Writes table, figures and page of a scaling study beside its raw figures.

    Args:
        raw: the file with the raw figures.
        figures: whether to draw any.

    Raises:
        StudyError: where that file cannot be used.
    """
    found, folder = analyse(load_raw(raw)), raw.parent
    drawn = list(_draw(found)) if plots else []
    (folder / "figures").mkdir(exist_ok=True)
    pngs = [save_png(figure, folder / "figures" / f"{name}.png") for name, _, _, figure in drawn]
    html, table_json = folder / "scaling.html", folder / "table.json"
    write_atomically(html, _render(found, drawn))
    write_atomically(table_json, json.dumps(table.table_tree(found), indent=1, ensure_ascii=False))
    return ScalingReport(table.table_text(found), html, table_json, pngs, raw)


def compare(first: Path, second: Path) -> str:
    """Two scaling studies side by side, as text.

    Args:
        first: raw figures of one, or the folder in which they lie.
        second: those of the other.

    Raises:
        StudyError: where one of them cannot be used.
    """
    paths = [path / "raw.json" if path.is_dir() else path for path in (first, second)]
    return compare_text(*(analyse(load_raw(path)) for path in paths))


def _draw(found: Analysis) -> Iterator[tuple[str, str, str, Figure]]:
    if found.points:
        caption = (
            "Each dot is a repetition. The law is the best of those fitted, or those not told apart, solid within the "
            "measurements, drawn no further than twice the largest count. Triangles are simulated under a stated "
            "network, not measured."
        )
        yield "throughput", "How far it scales", caption, plots.throughput(found)
        caption = (
            "Speed-up divided by workers: each dot is a repetition, the blue line goes through their medians, with the "
            "best law and the floor of the recommendation."
        )
        yield "efficiency", "Efficiency", caption, plots.efficiency(found)
        caption = (
            "Median step by parts: computing, communication once all workers are there, waiting for the slowest "
            "worker, and making batches ready."
        )
        yield "breakdown", "Where the time goes", caption, plots.breakdown(found)
        caption = "The whole job at each count, its start-up included. Down and to the left is better."
        yield "cost", "Cost against time", caption, plots.cost_against_time(found)
    if found.raw.tuning:
        caption = (
            "The best value of the objective by the time since the first trial began, the start of trial processes "
            "with it, a line for each search."
        )
        yield "tuning", "Best value against time", caption, plots.tuning(found)


def _render(found: Analysis, drawn: list[tuple[str, str, str, Figure]]) -> str:
    shown = [
        {"name": name, "title": title, "caption": caption, "uri": data_uri(to_svg(figure))}
        for name, title, caption, figure in drawn
    ]
    said = sentences(found)
    headed = bool(found.choice or found.tuning)
    return fill(
        "supercm_ray.scaling.report",
        "scaling.html",
        raw=found.raw,
        finding=said[0] if headed else "No step was timed.",
        sentences=said[1:] if headed else said,
        single=1 in found.throughputs,
        headings=table.headings(found),
        rows=table.cells(found),
        parts_note=table.PARTS_NOTE,
        tuning=table.tuning_cells(found),
        tuning_headings=table.TUNING_HEADINGS,
        chosen=found.choice,
        figures=shown,
        raw_json=found.raw.model_dump_json(indent=1),
    )
