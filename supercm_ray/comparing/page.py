"""A comparison as one HTML file, which needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from plotly.offline import get_plotlyjs

from supercm_ray.comparing import figures, text
from supercm_ray.comparing.differences import Pair
from supercm_ray.comparing.entry import Entry
from supercm_ray.reporting.html import fill


def render(entries: Sequence[Entry], pairs: Sequence[Pair], obstacles: Sequence[str]) -> str:
    """Returns the page as text."""
    parallel = figures.parallel_coordinates(entries)
    trials = figures.trials_table(entries)
    return fill(
        "supercm_ray.comparing",
        "page.html",
        entries=entries,
        obstacles=obstacles,
        headline=headline(pairs),
        line_headings=(*text.LINE_HEADINGS, "parameters"),
        lines=[(*text.line_cells(line), text.params_text(line.params)) for entry in entries for line in entry.lines],
        pair_headings=text.PAIR_HEADINGS,
        pairs=[text.pair_cells(pair) for pair in pairs],
        notes=text.notes(entries, pairs),
        settings=text.differing_settings(entries),
        cost_headings=text.COST_HEADINGS,
        costs=[text.cost_cells(entry.letter, entry.cost) for entry in entries],
        accuracy=figures.as_json(figures.accuracy(entries)) if any(entry.lines for entry in entries) else "",
        parallel="" if parallel is None else figures.as_json(parallel),
        trials=[figures.trial_cells(entry, trial) for entry in entries for trial in entry.trials],
        trials_json=figures.as_json(trials),
        has_contour=len(trials["paths"]) > 1 and len(trials["entry"]) > 2,
        plotly=get_plotlyjs(),
        script=files("supercm_ray.comparing").joinpath("page.js").read_text(encoding="utf-8"),
    )


def headline(pairs: Sequence[Pair]) -> str:
    """Says in a sentence how many differences are shown, and which one is the largest of these."""
    if not pairs:
        return "No two lines could be compared."
    shown = [pair for pair in pairs if pair.difference.verdict != "not shown"]
    if not shown:
        return f"None of {len(pairs)} differences is shown: other seeds or test samples may explain each."
    largest = max(shown, key=lambda pair: abs(pair.difference.mean))
    cells = dict(zip(text.PAIR_HEADINGS, text.pair_cells(largest), strict=True))
    return (
        f"{len(shown)} of {len(pairs)} differences {'is' if len(shown) == 1 else 'are'} shown. The largest: "
        f"{cells['shown']} by {cells['points'].lstrip('+−')} points ({cells['interval']}) with {cells['all labels']} "
        f"labels, {cells['arm']}."
    )
