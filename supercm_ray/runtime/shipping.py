"""The code that is sent to the nodes of a cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from supercm_ray.errors import ClusterError

_PACKAGE = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 50 * 2**20
_LEFT_OUT = {"__pycache__", ".git", ".venv", "venv"}
"""Folders that Ray does not send."""


def code_to_ship(plugins: Iterable[str], *, ship_code: bool) -> tuple[str, ...]:
    """Returns the modules and packages to send: plug-ins that lie in the working directory, which only this node may
    have; and this package, if nodes are to get it.

    Raises:
        ClusterError: if one is too large, as a package with data in it is.
    """
    here = Path.cwd().resolve()
    found = dict.fromkeys(path for name in plugins for path in _lying_in(here, name))
    if ship_code:
        found[_PACKAGE] = None
    for path in found:
        size = sum(file.stat().st_size for file in _files(path))
        if size > LARGEST_BYTES:
            raise ClusterError(
                f"code that is sent to nodes must have {LARGEST_BYTES >> 20} MiB or less, got {size >> 20} MiB in "
                f"{path}; move data and results out of it, or install it on every node"
            )
    return tuple(map(str, found))


def _lying_in(folder: Path, module: str) -> Iterator[Path]:
    """Yields the top-level module or package of a module, if it lies in a folder and is not installed there."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:  # which the study's checks tell better
        return
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    for place in places:
        if place.is_relative_to(folder) and "site-packages" not in place.parts and place != folder:
            yield place


def _files(path: Path) -> Iterator[Path]:
    """Yields the files that Ray sends of a module or package."""
    for found in [path] if path.is_file() else path.rglob("*"):
        if found.is_file() and not _LEFT_OUT & set(found.parts):
            yield found
