"""Compares two studies, which are both scaling studies or both tuned studies."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from supercm_ray.errors import StudyError
from supercm_ray.records import StudyFolder, read_study
from supercm_ray.scaling.measurements import FILE_NAME
from supercm_ray.scaling.report.build import compare
from supercm_ray.search import StudyView
from supercm_ray.tuning.report.comparison import compare_tuned

Kind = Literal["scaling", "tuned"]


def compare_studies(first: str, second: str, *, results: Path) -> str:
    """Compares two scaling studies, or two tuned studies, as text.

    Args:
        first: a scaling study's file of measurements, a study's folder, or the name of a study in `results`.
        second: another study of the same kind.
        results: the results folder.

    Raises:
        StudyError: if one of them is no study, or they are of different kinds.
    """
    (kind, path), (other_kind, other) = _find(first, results), _find(second, results)
    if kind != other_kind:
        raise StudyError(
            f"two studies of one kind can be compared, got a {kind} one in {path} and a {other_kind} one in {other}; "
            "name two scaling studies or two tuned ones"
        )
    if kind == "scaling":
        return compare(path, other)
    return compare_tuned(_view(path), _view(other))


def _view(path: Path) -> StudyView:
    return StudyView.read(read_study(path), StudyFolder.existing(path))


def _find(name: str, results: Path) -> tuple[Kind, Path]:
    """Returns the kind of a study and the path of its measurements or records."""
    for place in (Path(name), results / name, results / "scale" / name):
        if place.is_file():
            return "scaling", place
        if (place / FILE_NAME).exists():
            return "scaling", place / FILE_NAME
        if any((place / name).exists() for name in ("study.json", "study.yaml")):
            return "tuned", place
    raise StudyError(
        f"a study to compare is a {FILE_NAME}, a folder with one or of a tuned study, or a study's name in {results}, "
        f"got {name!r}; run `supercm-ray scale` or `supercm-ray tune` first"
    )
