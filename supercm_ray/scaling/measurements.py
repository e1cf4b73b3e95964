"""The single measurements of a scaling study, each on workers of its own: a step's time, a run towards a target, a
search.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supercm_ray.config import Study
from supercm_ray.core import all_gather_object
from supercm_ray.data import Dataset
from supercm_ray.errors import DivergedError
from supercm_ray.execution.phases import run_search
from supercm_ray.execution.recorder import NullCallback, Recorder
from supercm_ray.records import EpochMetrics, RunRecord, StudyFolder
from supercm_ray.runtime.ray_executor import RayExecutor, take_device, train_on_worker
from supercm_ray.runtime.worker_group import Loop, WorkerGroupRun, Workers
from supercm_ray.scaling import Host, this_host
from supercm_ray.scaling.timing import FIGURES, TimingJob, time_job
from supercm_ray.training import Job

_HOSTS = "hosts"


@dataclass(frozen=True)
class Timed:
    """What workers found of a step.

    Attributes:
        startup_s: seconds from asking for the workers until their first step.
        figures: those of `scaling.Repetition` by name.
        hosts: the machine of each worker, by rank.
    """

    startup_s: float
    figures: dict[str, Any]
    hosts: list[Host]


def time_workers(job: TimingJob, workers: Workers, storage: Path) -> Timed:
    """Times a step on so many workers; on a single one without DDP, in a process of its own all the same.

    Args:
        job: what is timed.
        workers: a fixed number.
        storage: a folder for Ray's own files, which is taken away again.

    Raises:
        WorkersError: where the workers failed again and again.
    """
    asked, begun = time.monotonic(), 0.0
    found: dict[str, Any] = {}
    for message in _messages(_time_on_worker, job, workers, storage):
        begun, found = begun or time.monotonic(), message
    return Timed(begun - asked, found[FIGURES], found[_HOSTS])


def train_towards(
    job: Job, target: float, workers: Workers, storage: Path, note: Callable[[EpochMetrics], None]
) -> tuple[bool, float, int]:
    """Trains until the validation accuracy comes to a target, from the last checkpoint where there is one.

    Args:
        job: the run.
        target: from 0 to 1.
        workers: on which it trains.
        storage: a folder for Ray's own files, which is taken away again.
        note: told the metrics of each epoch.

    Returns:
        Whether it did before it ended or diverged; the seconds of its epochs, validation included; and the epochs.
    """
    seconds, epochs = 0.0, 0
    try:
        for message in _messages(train_on_worker, job, workers, storage):
            if not isinstance(message, EpochMetrics):
                continue
            seconds, epochs = seconds + message.metrics["epoch_seconds"], message.epoch
            note(message)
            if message.metrics["val/accuracy"] >= target:
                return True, seconds, epochs
    except DivergedError:
        pass
    return False, seconds, epochs


def search(study: Study, dataset: Dataset, path: Path) -> dict[str, Any]:
    """Searches a study afresh, without finalists.

    Args:
        study: whose `budget.max_concurrent_trials` says how many trials run at once.
        dataset: its data.
        path: a folder for its records; what an interrupted search left there is thrown away.

    Returns:
        What `scaling.TuningRun` keeps of it, by name.
    """
    shutil.rmtree(path, ignore_errors=True)
    folder = StudyFolder.open(path.parent, path.name, study.identity())
    run_search(Recorder(study, folder, dataset, NullCallback(), lambda key: None), RayExecutor())
    ended = sorted((one for one in folder.runs("trial") if one.ended_ms), key=lambda one: one.ended_ms or 0)
    began_ms = min(record.started_ms for record in ended)
    seconds = max(1, (ended[-1].ended_ms or 0) - began_ms) / 1000
    statuses: Counter[str] = Counter(record.status for record in ended)
    return {
        "seconds": seconds,
        "num_trials": len(ended),
        **{f"num_{status}": statuses[status] for status in ("complete", "pruned", "failed")},
        "best": tuple(_best(study, folder, ended, began_ms)),
    }


def _best(study: Study, folder: StudyFolder, ended: list[RunRecord], began_ms: int) -> Iterator[tuple[float, float]]:
    sign, best = (1 if study.primary.direction == "maximize" else -1), None
    for record in ended:
        if record.status != "complete":
            continue
        value = float(folder.run(record.key).history()[-1][study.primary.metric])
        if best is None or sign * value > sign * best:
            best = value
            yield ((record.ended_ms or 0) - began_ms) / 1000, value


def _messages(loop: Loop, argument: Any, workers: Workers, storage: Path) -> Iterator[dict[str, Any]]:
    try:
        with WorkerGroupRun(loop, argument, workers, name="scale", storage=storage) as group:
            yield from group
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _time_on_worker(job: TimingJob) -> Iterator[dict[str, Any]]:
    take_device()
    hosts = all_gather_object(this_host())
    for message in time_job(job):
        yield {**message, _HOSTS: hosts}
