"""Makes the measurements of a scaling study, in order, and writes each to the file at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from supercm_ray.config import Leaf, ScalingConfig, Study
from supercm_ray.data import Splits, standardised
from supercm_ray.execution.attempts import job_of
from supercm_ray.execution.executor import Run
from supercm_ray.execution.recorder import Recorder
from supercm_ray.records import CheckpointStore, now_ms
from supercm_ray.scaling.measured_runs import Measurement, TargetRun, search_key, target_key
from supercm_ray.scaling.measurements_file import MeasurementsFile
from supercm_ray.scaling.plan import SearchSetting, remaining
from supercm_ray.scaling.repetition import Repetition, repetition_key
from supercm_ray.scaling.room import that_fits
from supercm_ray.scaling.search_result import tuning_run
from supercm_ray.scaling.timing import TimingJob
from supercm_ray.scaling.workers import Group, RayExecutor, search, time_workers, train_towards


@dataclass(frozen=True)
class ScalingRun:
    """Measures what a scaling section asks for and the file lacks. Records and trackers are written after the file."""

    scaling: ScalingConfig
    recorder: Recorder
    file: MeasurementsFile

    @property
    def _study(self) -> Study:
        return self.recorder.study

    def has_work(self) -> bool:
        """Returns whether anything is left to measure. Closes records that a kill has left open."""
        self._reconcile()
        return bool(remaining(self._study, self.scaling, self.file.content))

    def run(self, executor: RayExecutor) -> None:
        """Makes the remaining measurements on an executor.

        Raises:
            StudyError: for a number of workers or concurrent trials that does not fit the cluster, unless these are to
                be skipped.
            WorkersError: if the workers failed again and again.
        """
        left = remaining(self._study, self.scaling, self.file.content)
        left = that_fits(left, executor, self._study, self.scaling, self.file)
        done = self.file.content
        self._phase("repetitions", done.repetitions, [repetition_key(*one) for one in left.repetitions])
        for num_workers, repetition in left.repetitions:
            self._repetition(executor, num_workers, repetition)
        self._phase("runs to target", done.targets, [target_key(*one) for one in left.targets])
        for num_workers, seed in left.targets:
            self._target(executor, num_workers, seed)
        self._phase("searches", done.tuning, [search_key(*one) for one in left.searches])
        for setting, repetition in left.searches:
            self._search(executor, setting, repetition)

    def _phase(self, name: str, done: Iterable[Measurement], left: Sequence[str]) -> None:
        if left:
            keys = [*(one.key for one in done), *left]
            self.recorder.phase(name, len(keys), [self.recorder.folder.run(key).record() for key in keys])

    def _repetition(self, executor: RayExecutor, num_workers: int, repetition: int) -> None:
        key, seed = repetition_key(num_workers, repetition), self._study.base.seed + repetition
        overrides = self._overrides(seed, num_workers)
        run = Run(key, "scale", overrides, {"num_workers": num_workers, "repetition": repetition})
        job = self._timing_job(self.recorder.begin(run))
        started_ms = now_ms()
        startup_s, timings = time_workers(job, self._group(executor, num_workers))
        measured = Repetition.of(
            timings,
            num_workers=num_workers,
            repetition=repetition,
            order=len(self.file.content.repetitions),
            seed=seed,
            started_ms=started_ms,
            startup_s=startup_s,
        )
        self.file.add(measured, timings.nodes)
        self._end(measured)

    def _timing_job(self, run: Run) -> TimingJob:
        config, splits = self._study.base.replace(run.overrides), Splits.deserialize(run.splits)
        dataset = standardised(self.recorder.dataset, splits, config.data)
        return TimingJob(config, dataset, splits, self.scaling.warmup_steps, self.scaling.num_steps)

    def _target(self, executor: RayExecutor, num_workers: int, seed: int) -> None:
        key, target = target_key(num_workers, seed), self.scaling.target_accuracy
        assert target is not None
        overrides = self._overrides(seed, num_workers)
        run = self.recorder.begin(Run(key, "scale", overrides, {"num_workers": num_workers}))
        config = self._study.base.replace(overrides)
        job = job_of(self.recorder.folder, run, config, self.recorder.dataset, evaluate_test=False)
        group = self._group(executor, num_workers)
        result = train_towards(job, target, group, lambda epoch: self.recorder.take(key, epoch))
        measured = TargetRun(
            num_workers=num_workers,
            seed=seed,
            reached=result.reached,
            seconds=result.seconds,
            samples=result.num_epochs * config.training.steps_per_epoch * config.batch_size,
        )
        self.file.add(measured)
        self._end(measured)
        CheckpointStore(job.storage).clear()

    def _search(self, executor: RayExecutor, setting: SearchSetting, repetition: int) -> None:
        (trials_at_once, gpu_fraction), key, study = setting, search_key(setting, repetition), self._study
        labels: dict[str, Leaf] = {
            "trials_at_once": trials_at_once,
            "gpus_per_trial": gpu_fraction,
            "repetition": repetition,
        }
        self.recorder.begin(Run(key, "scale", {}, labels))
        changes = {"max_concurrent_trials": trials_at_once, "gpus_per_worker": gpu_fraction}
        budget = study.budget.model_copy(update=changes)
        sampler = study.sampler.model_copy(update={"seed": study.sampler.seed + repetition})
        searched = study.model_copy(update={"budget": budget, "sampler": sampler})
        folder = search(executor, searched, self.recorder.dataset, self.recorder.folder.run(key).path / "study")
        measured = tuning_run(searched, folder, setting, repetition)
        self.file.add(measured)
        self._end(measured)

    def _overrides(self, seed: int, num_workers: int) -> dict[str, Leaf]:
        return {"seed": seed, **self.scaling.batch_sizes(self._study, num_workers)}

    def _group(self, executor: RayExecutor, num_workers: int) -> Group:
        spread = self.scaling.placement == "spread"
        return Group(num_workers, self._study.budget, spread=spread, left_out=executor.left_out)

    def _reconcile(self) -> None:
        """Closes the records of measurements that the file has."""
        done = self.file.content
        measured: list[Measurement] = [*done.repetitions, *done.targets, *done.tuning]
        for one in measured:
            record = self.recorder.folder.run(one.key).record()
            if record is not None and record.status != "complete":
                self._end(one)

    def _end(self, measured: Measurement) -> None:
        self.recorder.end(measured.key, "complete", summary=measured.metrics)
