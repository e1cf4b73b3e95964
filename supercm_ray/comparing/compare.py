"""Compares any number of studies, trained runs and runs found in MLflow, or scaling studies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase

from supercm_ray.comparing.differences import Pair, obstacles, pairs_of
from supercm_ray.comparing.entry import Entry
from supercm_ray.comparing.sources import find_source, scaling_file
from supercm_ray.comparing.text import comparison_text
from supercm_ray.errors import StudyError
from supercm_ray.records import write_atomically, writing
from supercm_ray.scaling.report.build import compare as compare_scaling
from supercm_ray.tracking import log_comparison

FOLDER = "comparisons"
"""The folder in the results where pages of comparisons lie."""
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        text: all of it, for a terminal.
        entries: what is compared, in the order given; empty for scaling studies.
        pairs: the differences that could be tested; likewise.
        obstacles: sentences on what cannot be compared.
        html: path of the page; None for scaling studies.
        how_to_open: the commands or addresses that show it in MLflow, one a line; empty if it was not logged.
    """

    text: str
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    pairs: tuple[Pair, ...] = field(default=(), repr=False)
    obstacles: tuple[str, ...] = ()
    html: Path | None = None
    how_to_open: str = ""


def compare(names: Sequence[str], *, results: Path, page: Path | None = None, log: bool = False) -> Comparison:
    """Compares studies, runs and searches (see `supercm_ray.compare`)."""
    if not 2 <= len(names) <= len(ascii_uppercase):
        raise StudyError(f"2 to {len(ascii_uppercase)} things can be compared, got {len(names)}; name a second one")
    measured = [scaling_file(name, results) for name in names]
    files = [file for file in measured if file is not None]
    if files:
        return _of_scaling(names, measured, files, log=log)
    entries = [Entry.of(ascii_uppercase[i], find_source(name, results)) for i, name in enumerate(names)]
    pairs, why_not = pairs_of(entries), obstacles(entries)
    html = page or results / FOLDER / f"{_file_name(names)}.html"
    _write_page(html, entries, pairs, why_not)
    text = comparison_text(entries, pairs, why_not)
    how_to_open = _log(entries, pairs, text, html) if log else ""
    return Comparison(text, tuple(entries), tuple(pairs), tuple(why_not), html, how_to_open)


def _of_scaling(
    names: Sequence[str], measured: Sequence[Path | None], files: Sequence[Path], *, log: bool
) -> Comparison:
    """Compares each scaling study with the first."""
    if len(files) < len(names):
        other = names[measured.index(None)]
        raise StudyError(
            f"scaling studies can be compared with one another alone, got {files[0]} and {other!r}; name scaling "
            "studies, or none"
        )
    if log:
        raise StudyError("a comparison of scaling studies is text alone, got --log; leave it out")
    return Comparison("\n\n\n".join(compare_scaling(files[0], other) for other in files[1:]))


def _write_page(html: Path, entries: Sequence[Entry], pairs: Sequence[Pair], why_not: Sequence[str]) -> None:
    from supercm_ray.comparing.page import render  # plotly takes a second, which scaling studies do not need

    with writing(html.parent):
        html.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(html, render(entries, pairs, why_not))


def _file_name(names: Sequence[str]) -> str:
    """Returns a file name that tells what is compared, and differs from those of other comparisons."""
    told = "-".join(re.sub(r"[^A-Za-z0-9]+", "-", Path(name).name).strip("-") for name in names)
    return f"{told[:_LONGEST_NAME]}-{hashlib.sha256(repr(list(names)).encode()).hexdigest()[:6]}"


def _log(entries: Sequence[Entry], pairs: Sequence[Pair], text: str, html: Path) -> str:
    differences = {
        f"difference/{pair.second.name}-{pair.first.name}/{pair.second.arm}/{pair.first.label_budget}": pair
        for pair in pairs
    }
    return log_comparison(
        " vs ".join(entry.title.split(",")[0] for entry in entries)[:_LONGEST_NAME],
        f"```\n{text}\n```",
        compared={entry.letter: entry.title for entry in entries},
        metrics={name: pair.difference.mean for name, pair in differences.items()},
        page=html,
    )
