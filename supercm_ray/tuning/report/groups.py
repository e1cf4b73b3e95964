"""Groups as text."""

from __future__ import annotations

from supercm_ray.config import Study
from supercm_ray.reporting.tables import value_text
from supercm_ray.search import Group


def group_text(study: Study, group: Group) -> str:
    """Formats a group, as `all trials` if the study has no group path."""
    pairs = zip(study.group_paths, group, strict=True)
    return ", ".join(f"{path} = {value_text(value)}" for path, value in pairs) or "all trials"


def narrowed(lines: list[tuple[str, ...]], num_group_paths: int, width: int) -> list[tuple[str, ...]]:
    """Shortens the cells of group paths, which come first, from the left until the columns, two spaces apart, fit into
    a width.
    """
    first = width - sum(max(len(line[i]) for line in lines) + 2 for i in range(num_group_paths, len(lines[0])))
    return [_shorten(line, num_group_paths, first) for line in lines]


def _shorten(line: tuple[str, ...], num_group_paths: int, room: int) -> tuple[str, ...]:
    if not num_group_paths:
        return line
    width = max(4, room // num_group_paths - 2)
    cut = (cell if len(cell) <= width else f"…{cell[1 - width :]}" for cell in line[:num_group_paths])
    return (*cut, *line[num_group_paths:])
