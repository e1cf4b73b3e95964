"""Imports the user's own modules, which register algorithms, backbones, data sets and the like."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from supercm_ray.errors import StudyError


def import_plugins(names: Iterable[str]) -> None:
    """Imports the modules with these names.

    Raises:
        StudyError: if one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module can raise anything while it is imported
            raise StudyError(
                f"`plugins` must name modules that can be imported, got {name!r}: {type(error).__name__}: {error}; "
                "give the command in the module's directory, or install it, on every node"
            ) from error
