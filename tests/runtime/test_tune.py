"""What only Ray Tune does of a study: processes, their resources, and their plug-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from studies import STUDY, Place

from supercm_ray import load_study, tune
from supercm_ray.execution.recorder import NullCallback
from supercm_ray.records import RunRecord

from .processes import trial_runners


def test_a_trial_that_can_never_fit_is_refused(place: Place, ray_cluster: None) -> None:
    done = place.here("tune", "tiny.yaml", "budget.cpus_per_worker=1000")
    assert done.returncode == 2, done.stderr
    assert "budget.cpus_per_worker" in done.stderr
    assert {run.info.status for run in place.runs()} == {"FAILED"}


class ProcessWatcher(NullCallback):
    """Remembers the processes that train."""

    def __init__(self) -> None:
        self.pids: set[int] = set()

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        if record.kind == "trial":
            self.pids |= set(trial_runners(os.getpid()))


@pytest.mark.slow
def test_worker_processes_are_reused_between_trials(
    place: Place, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two serve the whole search, trials that diverge included; where the next trial is late, as on a busy machine,
    Tune may let one go and start another, which half the trials must do without.
    """
    monkeypatch.chdir(place.path)
    watcher = ProcessWatcher()
    study = load_study(place.path / "tiny.yaml", ["budget.max_concurrent_trials=2", "num_seeds=1"])
    result = tune(study, callback=watcher, plots=False)
    assert sum(result.counts.values()) == 10
    assert 1 <= len(watcher.pids) <= 10 // 2


ALGORITHM = """
import torch
from supercm_ray.algorithms import ALGORITHMS, Step, Terms
from supercm_ray.config import OptionsModel

class Options(OptionsModel):
    weight: float = 1.0

@ALGORITHMS.register("entropy_minimisation", options=Options, requires={"unlabeled"})
def entropy_minimisation(step: Step) -> Terms:
    assignments = step.unlabeled_logits.softmax(dim=1)
    entropy = -(assignments * assignments.clamp_min(1e-12).log()).sum(dim=1).mean()
    return {"entropy": step.options(Options).weight * entropy}
"""


@pytest.mark.slow
def test_an_algorithm_of_the_users_own_is_tuned_by_its_name(tmp_path: Path, empty_mlflow: Path) -> None:
    """Its module lies where the command is given, which no process of Ray's knows by itself."""
    place = Place.make(tmp_path, empty_mlflow)
    (tmp_path / "my_algorithms.py").write_text(ALGORITHM)
    base = {**STUDY["base"], "plugins": ["my_algorithms"], "algorithm": {"name": "entropy_minimisation"}}
    space = {"algorithm.options.weight": {"type": "float", "low": 2.0, "high": 3.0}}
    objective = {"metric": "val/accuracy", "direction": "maximize"}
    place.write(base=base, space=space, objective=objective, enqueued_trials=[], num_seeds=1, budget={"num_trials": 2})
    command = [Path(sys.executable).with_name("supercm-ray"), "tune", "tiny.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=place.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    histories = [place.folder.run(record.key).history() for record in place.folder.runs()]
    assert histories and all("train/entropy" in history[0] for history in histories)
    assert all(2 <= record.params["algorithm.options.weight"] <= 3 for record in place.folder.runs())

    place.write(base={**base, "plugins": ["no_such_module"]})
    refused = place.here("tune", "tiny.yaml")
    assert refused.returncode == 2
    assert "`plugins` must name modules that can be imported, got 'no_such_module'" in refused.stderr
