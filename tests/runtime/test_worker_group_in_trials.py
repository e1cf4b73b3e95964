"""Tuning trials that have workers of their own, stopped early again and again."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.util.placement_group import placement_group_table

from supercm_ray.runtime.worker_group import TRIAL_RESOURCES, WorkerGroupRun, Workers

from . import toy_loops


class Trial(tune.Trainable):
    """As the package's own, but for what is trained."""

    def setup(self, config: dict[str, Any]) -> None:
        workers = Workers(2, cpus_per_worker=0.5)
        given = {"folder": f"{config['folder']}/{self.trial_id}", "epochs": 10_000, "sleep_s": 0.01}
        self._run = WorkerGroupRun(toy_loops.count, given, workers, name=self.trial_id)
        self._messages = iter(self._run)

    def step(self) -> dict[str, Any]:
        return next(self._messages)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""

    def cleanup(self) -> None:
        self._run.close()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True


class Stops(tune.Callback):
    """Notes when each trial was stopped."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.at[trial.trial_id] = time.monotonic()


def note_removals(at: dict[str, float], over: threading.Event) -> None:
    """Notes when the placement group of each trial is gone."""
    while not over.wait(0.05):
        for group in placement_group_table().values():
            if group["state"] == "REMOVED" and "/" in group["name"]:
                at.setdefault(group["name"].rpartition("-")[0], time.monotonic())


@pytest.fixture
def session(dashboard: bool, no_ray: None) -> Iterator[None]:
    before = dict(os.environ)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    for module in (toy_loops, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    ray.init(address="local", num_cpus=1, include_dashboard=dashboard, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        for module in (toy_loops, sys.modules[__name__]):
            ray.cloudpickle.unregister_pickle_by_value(module)
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("dashboard", "reuse", "num_trials"),
    [
        pytest.param(False, True, 8, id="no dashboard, one process"),
        pytest.param(False, True, 20, id="no dashboard, one process, twenty trials", marks=pytest.mark.nightly),
        pytest.param(True, False, 20, id="dashboard, a process each", marks=pytest.mark.nightly),
    ],
)
def test_trials_stopped_early_free_all_within_seconds_many_times_in_a_row(
    reuse: bool, num_trials: int, session: None, tmp_path: Path
) -> None:
    stops, freed, over = Stops(), {}, threading.Event()
    looking = threading.Thread(target=note_removals, args=(freed, over))
    looking.start()
    results = tune.Tuner(
        tune.with_resources(Trial, TRIAL_RESOURCES),
        param_space={"folder": str(tmp_path)},
        tune_config=tune.TuneConfig(num_samples=num_trials, max_concurrent_trials=1, reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), stop={"epoch": 2}, callbacks=[stops], verbose=0),
    ).fit()
    since = time.monotonic()
    while len(freed) < num_trials and time.monotonic() - since < 10:
        time.sleep(0.1)
    over.set()
    looking.join()
    assert not results.errors
    assert len(stops.at) == num_trials
    waits = {trial: freed.get(trial, float("inf")) - stopped for trial, stopped in stops.at.items()}
    assert max(waits.values()) < 10, waits
    assert ray.available_resources()["CPU"] == 1
