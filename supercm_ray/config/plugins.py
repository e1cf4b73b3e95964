"""Modules of the user's own that register algorithms, backbones and data sets."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from supercm_ray.errors import StudyError


def import_plugins(names: Iterable[str]) -> None:
    """Imports the modules of these names, each once in a process.

    Raises:
        StudyError: for one that cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module can raise anything while it is imported
            raise StudyError(
                f"`plugins` must name modules that can be imported, got {name!r}: {type(error).__name__}: {error}; "
                "give the command in the module's directory, or install it, on every node"
            ) from error
