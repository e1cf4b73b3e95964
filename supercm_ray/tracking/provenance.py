"""The code that made a run: versions and commit."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("supercm-ray", "torch", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Provenance:
    """The code that made a run.

    Attributes:
        versions: versions of Python and the packages that results depend on, by name.
        commit: commit of this package or of the directory where the command was given; empty if neither is under git.
        dirty: whether tracked files differ from the commit.
    """

    versions: dict[str, str]
    commit: str
    dirty: bool


@cache
def provenance() -> Provenance:
    """Returns the provenance of this process."""
    versions = {name: found for name in _PACKAGES if (found := _version(name))}
    commit = _git("rev-parse", "HEAD")
    dirty = bool(commit and _git("status", "--porcelain", "--untracked-files=no"))
    return Provenance({**versions, "python": platform.python_version()}, commit, dirty)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    folders = (Path(__file__).resolve().parent, Path.cwd())
    for folder in folders:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        except OSError:  # no git on this machine
            return ""
        if done.returncode == 0:
            return done.stdout.strip()
    return ""
