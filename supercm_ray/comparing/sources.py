"""Finding what is to be compared: a study, a trained run, or a search in MLflow."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from supercm_ray.comparing.entry import Source
from supercm_ray.config import Leaf
from supercm_ray.errors import StudyError
from supercm_ray.records import RunView, StudyFolder, find_study, read_study, split_digests
from supercm_ray.scaling.measurements import FILE_NAME
from supercm_ray.search import StudyView
from supercm_ray.tracking import TrackedRun, search_mlflow

_SEARCH = re.compile(r"=|<|>|\b(?:I?LIKE|IN|IS)\b")
_SHOWN = 60


def scaling_file(name: str, results: Path) -> Path | None:
    """Returns the file of measurements that a name means; None if it means something else."""
    for place in (Path(name), results / name, results / "scale" / name):
        if place.is_file() and place.suffix == ".json":
            return place
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
        if (place / "study.json").is_file():
            return None
    return None


def find_source(name: str, results: Path) -> Source:
    """Reads the runs that a name or a search means.

    Args:
        name: the folder, file or name of a study or of a trained run; or a filter of MLflow's, such as
            "tags.`supercm.study` = 'digits' and params.`algorithm.name` = 'vat'".
        results: the results folder.

    Raises:
        StudyError: if there is no such study, or MLflow has no such run.
        TrackingError: if MLflow cannot be asked.
    """
    if _SEARCH.search(name) and not Path(name).exists() and not (results / name).exists():
        return _from_mlflow(name)
    folder = StudyFolder.existing(find_study(name, results, to="compare"))
    return _trained(folder) if (folder.path / "train").is_dir() else _tuned(folder)


def _tuned(folder: StudyFolder) -> Source:
    view = StudyView.read(read_study(folder.path), folder)
    study = view.study
    return Source(
        title=f"{study.name}, study {folder.study_id}",
        finished=_complete(view.finalists),
        trials=view.trials,
        varied=study.varied_paths,
        group_paths=tuple(study.group_paths),
        digests=lambda run: split_digests(folder, run.record),
        predictions=lambda run: folder.run(run.record.key).test_predictions,
        num_workers=_one(study.budget.worker_range),
        gpus_per_worker=study.budget.gpus_per_worker,
    )


def _trained(folder: StudyFolder) -> Source:
    study, runs = read_study(folder.path), folder.views()
    return Source(
        title=f"{study.name}, trained run {folder.study_id}",
        finished=_complete([run for run in runs if run.record.kind == "train"]),
        trials=(),
        varied=(),
        group_paths=(),
        digests=lambda run: split_digests(folder, run.record),
        predictions=lambda run: None,
        num_workers=_one(study.budget.worker_range),
        gpus_per_worker=study.budget.gpus_per_worker,
    )


def _from_mlflow(condition: str) -> Source:
    found = {f"{one.study_id}/{one.run.record.key}": one for one in search_mlflow(condition)}
    if not found:
        raise StudyError(
            "a search in MLflow must find trials, finalists or trained runs of supercm_ray, got none for "
            f"{condition!r}; correct the filter, or name a study"
        )
    runs = [replace(one.run, record=replace(one.run.record, key=key)) for key, one in found.items()]
    trials = [run for run in runs if run.record.kind == "trial"]
    return Source(
        title=f"{len(runs)} runs of {_studies(list(found.values()))} in MLflow: {condition}",
        finished=_complete([run for run in runs if run.record.kind in ("finalist", "train")]),
        trials=trials,
        varied=_varied(runs),
        group_paths=(),
        digests=lambda run: found[run.record.key].digests,
        predictions=lambda run: None,
    )


def _studies(found: list[TrackedRun]) -> str:
    names = ", ".join(dict.fromkeys(one.study for one in found))
    return names if len(names) <= _SHOWN else f"{len({one.study_id for one in found})} studies"


def _varied(runs: list[RunView]) -> tuple[str, ...]:
    """Returns the paths, apart from the seed, whose values differ between runs."""
    values: dict[str, set[Leaf]] = {}
    for run in runs:
        for path, value in run.record.params.items():
            values.setdefault(path, set()).add(value)
    return tuple(path for path, seen in values.items() if len(seen) > 1 and path != "seed")


def _complete(runs: list[RunView]) -> list[RunView]:
    return [run for run in runs if run.record.status == "complete" and run.metrics]


def _one(worker_range: tuple[int, int]) -> int | None:
    return worker_range[0] if worker_range[0] == worker_range[1] else None
