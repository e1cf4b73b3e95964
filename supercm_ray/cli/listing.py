"""Lists study files, and the studies in the results folder."""

from __future__ import annotations

from pathlib import Path

from supercm_ray.config import load_study
from supercm_ray.errors import SuperCMError
from supercm_ray.records import StudyFolder, read_study
from supercm_ray.search import StudyView


def list_studies(files: Path, results: Path) -> list[str]:
    """Returns a line for each study file in a folder and for each study in `results`, under a heading each."""
    lines = [f"study files in {files}/"]
    for path in sorted(path for path in files.glob("*.yaml") if path.is_file()):
        lines.append(f"  {_shown(path.name):24} {_describe(path)}")
    lines.append(f"studies begun in {results}/")
    for folder in sorted({path.parent for name in ("study.json", "study.yaml") for path in results.glob(f"*/{name}")}):
        lines.append(f"  {_shown(folder.name):24} {_begun(folder)}")
    measured = sorted(results.glob("scale/*/measurements.json"))
    return [*lines, *([f"scaling studies begun in {results}/scale/"] if measured else []), *map(_measured, measured)]


def _shown(name: str) -> str:
    """Returns a file's name as it can be printed: what is no text, and line breaks, are replaced."""
    return name.encode(errors="replace").decode().replace("\n", "?")


def _begun(folder: Path) -> str:
    """Describes how far a study has come."""
    try:
        view = StudyView.read(read_study(folder), StudyFolder.existing(folder))
    except SuperCMError as error:
        return f"not valid: {str(error).splitlines()[0]}"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(view.statuses.items())) or "no trial yet"
    return counts + (", report.html" if (folder / "report.html").exists() else "")


def _measured(path: Path) -> str:
    """Describes what a scaling study has measured so far."""
    from supercm_ray.scaling import load_measurements  # seconds of imports, which few folders need

    name = f"  {path.parent.name:24}"
    try:
        measured = load_measurements(path)
    except SuperCMError as error:
        return f"{name} not valid: {str(error).splitlines()[0]}"
    counts = ", ".join(map(str, sorted({one.num_workers for one in measured.repetitions})))
    at_once = ", ".join(map(str, sorted({one.trials_at_once for one in measured.tuning})))
    what = [f"workers {counts}" if counts else "", f"trials at once {at_once}" if at_once else ""]
    page = ", scaling.html" if (path.parent / "scaling.html").exists() else ""
    return f"{name} {'; '.join(part for part in what if part) or 'nothing measured yet'}{page}"


def _describe(path: Path) -> str:
    try:
        study = load_study(path)
    except SuperCMError as error:
        return f"not valid: {str(error).splitlines()[0]}"
    searched = f"searches {', '.join(p.split('.')[-1] for p in study.space)}" if study.space else "no search"
    return f"{study.base.data.name}, {study.base.algorithm.name}, {study.budget.num_trials} trials, {searched}"
