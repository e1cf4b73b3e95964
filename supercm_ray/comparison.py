"""Two studies side by side, be they scaling studies or tuned ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from supercm_ray.errors import StudyError
from supercm_ray.report.tables import aligned
from supercm_ray.scaling.measurements import FILE_NAME
from supercm_ray.scaling.report.build import compare

Kind = Literal["scaling", "tuned"]


def compare_studies(first: str, second: str, *, results: Path) -> str:
    """Two scaling studies, or two tuned studies, side by side, as text.

    Args:
        first: a measurements.json, a study's folder, or the name of a study in `results`.
        second: likewise, of the same kind.
        results: where studies are.

    Raises:
        StudyError: where one of them is no study, or they are of different kinds.
    """
    (kind, path), (other_kind, other) = _find(first, results), _find(second, results)
    if kind != other_kind:
        raise StudyError(
            f"two studies of one kind can be compared, got a {kind} one in {path} and a {other_kind} one in {other}; "
            "name two scaling studies or two tuned ones"
        )
    if kind == "scaling":
        return compare(path, other)
    return _compare_tuned(*(json.loads(one.read_text(encoding="utf-8")) for one in (path, other)))


def _find(name: str, results: Path) -> tuple[Kind, Path]:
    """The kind of a study and the file with its figures."""
    for place in (Path(name), results / name, results / "scale" / name):
        if place.is_file():
            return "scaling", place
        if (place / FILE_NAME).exists():
            return "scaling", place / FILE_NAME
        if (place / "table.json").exists():
            return "tuned", place / "table.json"
    raise StudyError(
        f"a study to compare is a {FILE_NAME}, a folder with one or with a table.json, or a study's name in {results}, "
        f"got {name!r}; run `supercm-ray scale`, or `supercm-ray report` for a tuned study, first"
    )


def _compare_tuned(first: dict[str, Any], second: dict[str, Any]) -> str:
    lines = [f"{name}  {tree['study']}, study {tree['study_id']}" for name, tree in (("A", first), ("B", second))]
    ours, theirs = ({_place(row): row for row in tree["rows"]} for tree in (first, second))
    common = [place for place in ours if place in theirs]
    if not common:
        return "\n".join([*lines, "", "No group and arm stand in both tables."])
    rows = [["group", "arm", "A test %", "B test %", "B - A", "A gain", "B gain", "gain B - A"]]
    for place in common:
        a, b = ours[place], theirs[place]
        figures = [
            *(_text(row["test_accuracy"]) for row in (a, b)),
            _difference(a["test_accuracy"], b["test_accuracy"]),
            *(_text(row["gain"]) for row in (a, b)),
            _difference(a["gain"], b["gain"]),
        ]
        rows.append([*place, *figures])
    note = "In percent and points, mean ± std over seeds; gain: tuned minus baseline."
    return "\n".join([*lines, "", aligned(rows), note])


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return ", ".join(f"{name}={value}" for name, value in row["group"].items()) or "all", row["arm"]


def _text(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["mean"] is None:
        return "–"
    std = "" if figure["std"] is None else f" ± {100 * figure['std']:.1f}"
    return f"{100 * figure['mean']:.1f}{std}"


def _difference(one: dict[str, float | None] | None, other: dict[str, float | None] | None) -> str:
    if one is None or other is None or one["mean"] is None or other["mean"] is None:
        return "–"
    return f"{100 * (other['mean'] - one['mean']):+.1f}"
