"""Finding studies in the results folder."""

from __future__ import annotations

from pathlib import Path

from supercm_ray.config.yaml_text import read_yaml
from supercm_ray.errors import StudyError

KINDS = ("train", "scale")
"""Folders of the results that hold studies of these commands; those of `tune` lie in the results themselves."""

_FILES = ("study.json", "study.yaml", "session.json")


def find_studies(results: Path) -> list[Path]:
    """Returns the folders of all studies in the results, damaged ones too: tuned ones, then those of each kind."""
    places = [results, *(results / kind for kind in KINDS)]
    return [folder for place in places for folder in sorted(place.glob("*/")) if _is_study(folder)]


def find_study(named: str | Path, results: Path, *, to: str = "look at") -> Path:
    """Returns the folder of one study, of any command.

    Args:
        named: its folder, its file, or its name.
        results: the results folder, for names.
        to: what is to be done with it, for the error.

    Raises:
        StudyError: if there is none, or there are several.
    """
    path = Path(named).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        path = Path(str(read_yaml(path).get("name") or path.stem))
    places = [path, *(results / kind / path for kind in (".", *KINDS))]
    places += [place for kind in KINDS for place in sorted((results / kind).glob(f"{path.name}-*"))]
    found = dict.fromkeys(place.resolve() for place in places if _is_study(place))
    if len(found) != 1 and not (found and next(iter(found)) in (path.resolve(), (results / path).resolve())):
        got = f"{len(found)} of them: {', '.join(map(str, found))}" if found else "none"
        raise StudyError(
            f"a study to {to} must be a folder, or the name of one in {results}, got {got} for {str(named)!r}; name "
            "its folder"
        )
    return next(iter(found))


def _is_study(path: Path) -> bool:
    return any((path / name).is_file() for name in _FILES)
