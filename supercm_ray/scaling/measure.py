"""The measuring of a scaling study: what is left of its plan, in order, each result in the raw file at once."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from supercm_ray.config import Study
from supercm_ray.data import Splits
from supercm_ray.errors import StudyError
from supercm_ray.execution.attempts import job_of
from supercm_ray.execution.executor import Run
from supercm_ray.execution.recorder import Recorder
from supercm_ray.records import CheckpointStore, now_ms
from supercm_ray.runtime.cluster import workers_that_fit
from supercm_ray.runtime.ray_executor import RayExecutor
from supercm_ray.runtime.worker_group import Workers
from supercm_ray.scaling import RawFile, Repetition, ScalingPlan, TargetRun, TuningRun, schedule
from supercm_ray.scaling.measurements import search, time_workers, train_towards
from supercm_ray.scaling.timing import TimingJob

Search = tuple[int, float]
"""Trials at once, and the share of a GPU that each has."""


@dataclass(frozen=True)
class ScalingRun:
    """Measures what a plan asks for and the raw file lacks. Records and MLflow follow the raw file."""

    plan: ScalingPlan
    recorder: Recorder
    file: RawFile

    @property
    def _study(self) -> Study:
        return self.recorder.study

    def has_work(self) -> bool:
        """Whether anything is left to be measured, so that Ray is needed. Closes records that a kill left open."""
        self._reconcile()
        return bool(
            self._left(self.plan.workers)
            or self._left_targets(self.plan.workers)
            or self._left_searches(self._shares())
        )

    def run(self) -> None:
        """Measures what is left.

        Raises:
            StudyError: for a count for which the cluster has no room, unless these are to be skipped.
        """
        counts, searches = self._that_fit(), self._searches_that_fit()
        done = [_key(one) for one in self.file.raw.repetitions]
        self._phase("repetitions", done, [_repetition_key(*pair) for pair in self._left(counts)])
        for count, number in self._left(counts):
            self._repetition(count, number)
        done = [_key(one) for one in self.file.raw.targets]
        self._phase("runs to target", done, [_target_key(*pair) for pair in self._left_targets(counts)])
        for count, seed in self._left_targets(counts):
            self._target(count, seed)
        done = [_key(one) for one in self.file.raw.tuning]
        self._phase("searches", done, [_search_key(*pair) for pair in self._left_searches(searches)])
        for pair, number in self._left_searches(searches):
            self._search(pair, number)

    def _phase(self, name: str, done: list[str], left: list[str]) -> None:
        if left:
            records = [self.recorder.folder.run(key).record() for key in [*done, *left]]
            self.recorder.phase(name, len(done) + len(left), records)

    def _left(self, counts: tuple[int, ...]) -> list[tuple[int, int]]:
        done = {(one.workers, one.repetition) for one in self.file.raw.repetitions}
        left = schedule(self.plan.workers, self.plan.repetitions, self._study.base.seed, done)
        return [pair for pair in left if pair[0] in counts]

    def _left_targets(self, counts: tuple[int, ...]) -> list[tuple[int, int]]:
        if self.plan.target_accuracy is None:
            return []
        first = self._study.base.seed
        done = {(one.workers, one.seed - first) for one in self.file.raw.targets}
        left = schedule(self.plan.workers, self.plan.num_seeds, first, done)
        return [(count, first + i) for count, i in left if count in counts]

    def _left_searches(self, searches: tuple[Search, ...]) -> list[tuple[Search, int]]:
        done = {((one.trials_at_once, one.gpus_per_trial), one.repetition) for one in self.file.raw.tuning}
        left = schedule(self._shares(), self.plan.repetitions, self._study.base.seed, done)
        return [one for one in left if one[0] in searches]

    def _shares(self) -> tuple[Search, ...]:
        shares = self.plan.gpu_fractions or (self._study.budget.gpus_per_worker,)
        return tuple((count, share) for count in self.plan.trials_at_once for share in shares)

    def _workers(self, count: int) -> Workers:
        budget = self._study.budget
        return Workers(
            count,
            use_gpu=budget.gpus_per_worker > 0,
            cpus_per_worker=budget.cpus_per_worker,
            placement="SPREAD" if self.plan.placement == "spread" else "PACK",
        )

    def _that_fit(self) -> tuple[int, ...]:
        """Counts with something left to measure that have room."""
        room = workers_that_fit(self._workers(1).resources)
        left = [*self._left(self.plan.workers), *self._left_targets(self.plan.workers)]
        begun = {one.workers for one in self.file.raw.repetitions}
        return tuple(
            count
            for count in sorted({count for count, _ in left})
            if self._fits(count, room, f"{'more of ' * (count in begun)}{count} worker{'s' * (count > 1)}")
        )

    def _searches_that_fit(self) -> tuple[Search, ...]:
        """Searches with something left to measure that have room."""
        found = []
        begun = {(one.trials_at_once, one.gpus_per_trial) for one in self.file.raw.tuning}
        for count, share in sorted({pair for pair, _ in self._left_searches(self._shares())}):
            budget = self._study.budget.model_copy(update={"max_concurrent_trials": None, "gpus_per_worker": share})
            try:
                room = RayExecutor().capacity(budget)
            except StudyError:
                room = 0
            what = f"{count} trial{'s' * (count > 1)} at once with {share:g} of a GPU each"
            if self._fits(count, room, "more of " * ((count, share) in begun) + what):
                found.append((count, share))
        return tuple(found)

    def _fits(self, count: int, room: int, what: str) -> bool:
        if count <= room:
            return True
        if not self.plan.skip_missing:
            raise StudyError(
                f"{what} must fit the cluster at once, got room for {room}; ask for fewer, add nodes, or give "
                "--skip-missing to measure the others"
            )
        self.file.skip(what, f"the cluster has room for {room}")
        return False

    def _repetition(self, count: int, number: int) -> None:
        study, plan, seed = self._study, self.plan, self._study.base.seed + number
        key = _repetition_key(count, number)
        overrides = {"seed": seed, **plan.sizes(study, count)}
        self.recorder.begin(Run(key, "scale", overrides, {"workers": count, "repetition": number}))
        run = self.recorder.folder.run(key)
        config, splits = study.base.replace(overrides), Splits.load(run.splits)
        job = TimingJob(config, self.recorder.dataset, splits, plan.warmup_steps, plan.num_steps)
        started_ms = now_ms()
        found = time_workers(job, self._workers(count), run.path.resolve() / "ray")
        one = Repetition(
            workers=count,
            repetition=number,
            order=len(self.file.raw.repetitions),
            seed=seed,
            started_ms=started_ms,
            startup_s=found.startup_s,
            **found.figures,
        )
        self.file.add(one, found.hosts)
        self._end(one)

    def _target(self, count: int, seed: int) -> None:
        key, target = _target_key(count, seed), self.plan.target_accuracy
        assert target is not None
        overrides = {"seed": seed, **self.plan.sizes(self._study, count)}
        self.recorder.begin(Run(key, "scale", overrides, {"workers": count}))
        folder, config = self.recorder.folder, self._study.base.replace(overrides)
        job = job_of(folder, key, config, self.recorder.dataset, evaluate_test=False)
        reached, seconds, epochs = train_towards(
            job,
            target,
            self._workers(count),
            folder.run(key).path.resolve() / "ray",
            lambda message: self.recorder.take(key, message),
        )
        rows = epochs * config.training.steps_per_epoch * sum(self.plan.sizes(self._study, count).values())
        one = TargetRun(workers=count, seed=seed, reached=reached, seconds=seconds, rows=rows)
        self.file.add(one)
        self._end(one)
        CheckpointStore(job.storage).clear()

    def _search(self, pair: Search, number: int) -> None:
        (count, share), key, study = pair, _search_key(pair, number), self._study
        self.recorder.begin(
            Run(key, "scale", {}, {"trials_at_once": count, "gpus_per_trial": share, "repetition": number})
        )
        budget = study.budget.model_copy(update={"max_concurrent_trials": count, "gpus_per_worker": share})
        sampler = study.sampler.model_copy(update={"seed": study.sampler.seed + number})
        searched = study.model_copy(update={"budget": budget, "sampler": sampler})
        path = self.recorder.folder.run(key).path / "study"
        found = search(searched, self.recorder.dataset, path)
        one = TuningRun(trials_at_once=count, repetition=number, gpus_per_trial=share, **found)
        self.file.add(one)
        self._end(one)

    def _reconcile(self) -> None:
        """Closes the records of what stands in the raw file already."""
        raw = self.file.raw
        measured: list[Repetition | TargetRun | TuningRun] = [*raw.repetitions, *raw.targets, *raw.tuning]
        for one in measured:
            record = self.recorder.folder.run(_key(one)).record()
            if record is not None and record.status != "complete":
                self._end(one)

    def _end(self, one: Repetition | TargetRun | TuningRun) -> None:
        self.recorder.end(_key(one), "complete", summary=_summary(one))


def _repetition_key(count: int, number: int) -> str:
    return f"repetitions/{count}-{number}"


def _target_key(count: int, seed: int) -> str:
    return f"targets/{count}-{seed}"


def _search_key(pair: Search, number: int) -> str:
    return f"searches/{pair[0]}x{pair[1]:g}-{number}"


def _key(one: Repetition | TargetRun | TuningRun) -> str:
    """The key of the run folder of a measurement."""
    if isinstance(one, Repetition):
        return _repetition_key(one.workers, one.repetition)
    if isinstance(one, TargetRun):
        return _target_key(one.workers, one.seed)
    return _search_key((one.trials_at_once, one.gpus_per_trial), one.repetition)


def _summary(one: Repetition | TargetRun | TuningRun) -> dict[str, float]:
    """A measurement's figures for its MLflow run, in the units of the raw file."""
    if isinstance(one, TargetRun):
        return {"reached": float(one.reached), "seconds": one.seconds, "rows": float(one.rows)}
    if isinstance(one, TuningRun):
        return {
            "seconds": one.seconds,
            "num_trials": one.num_trials,
            "trials_per_hour": 3600 * one.num_trials / one.seconds,
        }
    step_s = statistics.median(one.step_s)
    names = ("startup_s", "data_s", "compute_s", "communication_s", "waiting_s", "peak_memory_bytes", "gradient_bytes")
    found: dict[str, Any] = {name: float(getattr(one, name)) for name in names}
    return found | {"step_s": step_s, "rows_per_s": one.rows / step_s}
