"""Finding a run by its folder, its study's folder or its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supercm_ray.config import load_study
from supercm_ray.errors import StudyError
from supercm_ray.records import RunFolder, RunRecord, StudyFolder, read_study
from supercm_ray.search import StudyView

CONTINUED_FROM = "continued_from"
"""The label of a run that continues another, with the name of that one."""


@dataclass(frozen=True)
class FoundRun:
    """A finished run on disk."""

    folder: StudyFolder
    record: RunRecord

    @property
    def run(self) -> RunFolder:
        """The run's folder."""
        return self.folder.run(self.record.key)

    @property
    def name(self) -> str:
        """The run's key after the name of its study's folder."""
        return f"{self.folder.path.name}/{self.record.key}"

    @property
    def storage(self) -> str:
        """Folder or URI of its checkpoints."""
        storage_path = self.record.params.get("training.storage_path")
        return self.folder.storage(self.record.key, None if storage_path is None else str(storage_path))


def find_run(named: str | Path, results: Path, *, begun_anew: bool = False) -> FoundRun:
    """Finds a finished run; of a tuned study the best finalist by validation, as its report shows it.

    Args:
        named: a run's folder; a study's folder, file or name in `results`; or the name of a study that was trained.
        results: the results folder.
        begun_anew: whether the name of a study means its run that does not continue another.

    Raises:
        StudyError: if there is no such run, there are several, or it has not finished.
    """
    path = Path(named).expanduser()
    if (path / "run.json").is_file():
        return _finished(StudyFolder.existing(path.resolve().parents[1]), "/".join(path.resolve().parts[-2:]))
    name = load_study(path).name if path.suffix in (".yaml", ".yml") else str(named)
    places = [path, results / name, results / "train" / name]
    found = next((place for place in places if (place / "study.json").is_file()), None) or _trained_once(
        name, results, begun_anew=begun_anew
    )
    folder = StudyFolder.existing(found)
    return _trained(folder) if (found / "train").is_dir() else _best(folder)


def _trained_once(name: str, results: Path, *, begun_anew: bool) -> Path:
    """Returns the folder of the only run of `supercm-ray train` for the study of this name."""
    places = sorted((results / "train").glob(f"{name}-????????"))
    if begun_anew:
        places = [place for place in places if _is_begun_anew(place)]
    if not places:
        raise StudyError(
            f"a run or study must be a folder, or the name of one in {results}, got {name!r}; correct it, or run "
            "`supercm-ray train` or `supercm-ray tune` first"
        )
    if len(places) > 1:
        listed = ", ".join(map(str, places))
        raise StudyError(f"one run must be meant, got {name!r} for {len(places)} of them; name one of {listed}")
    return places[0]


def _is_begun_anew(place: Path) -> bool:
    records = StudyFolder.existing(place).runs("train")
    return bool(records) and CONTINUED_FROM not in records[0].labels


def _best(folder: StudyFolder) -> FoundRun:
    from supercm_ray.tuning.report.view import best_run  # seconds of imports, for tuned studies alone

    view = StudyView.read(read_study(folder.path), folder)
    best = best_run(view.study, view.plan, view.runs)
    if best is None:
        raise StudyError(
            f"a tuned finalist must have finished in {folder.path}, got none; run `supercm-ray tune` to its end, or "
            "name the folder of a run"
        )
    return FoundRun(folder, best.record)


def _trained(folder: StudyFolder) -> FoundRun:
    records = folder.runs("train")
    if len(records) != 1:
        raise StudyError(
            f"one run of `supercm-ray train` must be in {folder.path}, got {len(records)}; name the folder of a run"
        )
    return _finished(folder, records[0].key)


def _finished(folder: StudyFolder, key: str) -> FoundRun:
    record = folder.run(key).record()
    if record is None or record.status != "complete":
        status = "no record" if record is None else f"status {record.status}"
        raise StudyError(
            f"a run must have finished, got {status} for {folder.path / key}; give the command that began it again"
        )
    return FoundRun(folder, record)
