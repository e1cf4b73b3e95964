"""The result of a search for a scaling study, and its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from supercm_ray.config import Study
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.scaling.measured_runs import TuningRun


def tuning_run(study: Study, folder: StudyFolder, setting: tuple[int, float], repetition: int) -> TuningRun:
    """Reads a finished search from the records of its trials.

    Args:
        study: the study as it was searched.
        folder: the folder of its records.
        setting: number of concurrent trials, and GPUs of each.
        repetition: index of the repetition.
    """
    ended = sorted((record for record in folder.runs("trial") if record.ended_ms), key=_ended_ms)
    started_ms = min(record.started_ms for record in ended)
    statuses = Counter(record.status for record in ended)
    return TuningRun(
        trials_at_once=setting[0],
        gpus_per_trial=setting[1],
        repetition=repetition,
        seconds=max(1, _ended_ms(ended[-1]) - started_ms) / 1000,
        num_trials=len(ended),
        num_complete=statuses["complete"],
        num_pruned=statuses["pruned"],
        num_failed=statuses["failed"],
        best=tuple(_improvements(study, folder, ended, started_ms)),
    )


def _ended_ms(record: RunRecord) -> int:
    return record.ended_ms or 0


def _improvements(
    study: Study, folder: StudyFolder, ended: list[RunRecord], started_ms: int
) -> Iterator[tuple[float, float]]:
    """Returns seconds and the best value by then, for each improvement; only trials that were trained
    to the end count.
    """
    sign, best = (1 if study.primary.direction == "maximize" else -1), None
    for record in ended:
        if record.status != "complete":
            continue
        value = float(folder.run(record.key).history()[-1][study.primary.metric])
        if best is None or sign * value > sign * best:
            best = value
            yield (_ended_ms(record) - started_ms) / 1000, value
