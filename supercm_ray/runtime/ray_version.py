"""The versions of Ray that this package works with."""

from __future__ import annotations

import ray

from supercm_ray.errors import StudyError

OLDEST, NEWEST = (2, 56), (2, 60)
"""The first and the last minor version; `pyproject.toml` says the same."""


def check_ray_version() -> None:
    """Checks the installed version before anything of Ray is started or any private name of it is imported.

    Raises:
        StudyError: if the version is outside the supported range.
    """
    major, minor = (int(part) for part in ray.__version__.split(".")[:2])
    if not OLDEST <= (major, minor) <= NEWEST:
        oldest, newest = (".".join(map(str, version)) for version in (OLDEST, NEWEST))
        raise StudyError(
            f"the installed Ray must be of version {oldest} to {newest}, got {ray.__version__}; install one of these, "
            f"for example with: pip install 'ray[default,train,tune]=={newest}.*'"
        )
