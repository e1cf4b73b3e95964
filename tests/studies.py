"""A small study and a directory to run it in: in this process, or by the command line in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import yaml
from commands import Done, supercm_ray
from mlflow import MlflowClient
from mlflow.entities import Run

from supercm_ray.records import StudyFolder

STUDY = {
    "base": {
        "data": {"name": "digits", "label_ratio": 0.02},
        "model": {"options": {"channels": [4, 8]}},
        "training": {"num_epochs": 4, "steps_per_epoch": 4, "learning_rate": 1e-2},
    },
    "space": {
        "algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True},
        "training.learning_rate": {"type": "categorical", "choices": [1e-4, 1e-2, 1e30]},
        "data.label_ratio": {"type": "categorical", "choices": [0.02, 0.1]},
    },
    "objective": [
        {"metric": "val/accuracy", "direction": "maximize"},
        {"metric": "data.label_ratio", "direction": "minimize"},
    ],
    "budget": {"num_trials": 10},
    "sampler": {"name": "random", "seed": 1},
    "scheduler": {"name": "asha", "options": {"grace_period": 1, "reduction_factor": 2}},
    "enqueued_trials": [
        {"training.learning_rate": 1e-2, "data.label_ratio": 0.02},
        {"training.learning_rate": 1e-2, "data.label_ratio": 0.1},
        {"training.learning_rate": 1e30, "data.label_ratio": 0.1},
        {"training.learning_rate": 1e-4, "data.label_ratio": 0.02},
        {"training.learning_rate": 1e-4, "data.label_ratio": 0.1},
    ],
    "baseline": {"algorithm.clustering_weight": 0.0},
    "num_seeds": 2,
}


def listen_to_ctrl_c() -> None:
    """As on a terminal, also where the tests run in the background of a shell, which ignores SIGINT there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Place:
    """A directory in which commands are given, as a newcomer's would be."""

    path: Path
    more: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, path: Path, empty_mlflow: Path) -> Place:
        """A directory with the study file, and with a database that MLflow need not make first."""
        made = cls(path)
        made.write()
        shutil.copy(empty_mlflow, path)
        return made

    @property
    def folder(self) -> StudyFolder:
        return StudyFolder.existing(self.path / "results" / "tiny")

    def write(self, **changes: object) -> None:
        (self.path / "tiny.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
        alone = {"HOME": str(self.path / "home"), "RAY_ADDRESS": "local"}
        return {**kept, **alone, "PYTHONWARNINGS": "ignore", **self.more}

    def here(self, *words: str) -> Done:
        """Gives a command in this process."""
        return supercm_ray(self.path, *words, **{"HOME": str(self.path / "home"), **self.more})

    def tune_here(self, *words: str) -> str:
        """Tunes in this process, and what it printed."""
        done = self.here("tune", "tiny.yaml", "--executor", "in-process", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "supercm_ray.cli", *words],
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=listen_to_ctrl_c,  # noqa: PLW1509 (the tests start no threads)
        )

    def run(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(words, process.returncode, output, "")

    def tune(self, *words: str) -> str:
        done = self.run("tune", "tiny.yaml", *words)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def wait_for(self, process: subprocess.Popen[str], pattern: str, count: int) -> None:
        """Waits until that many files match below the study's folder."""
        until = time.monotonic() + 90
        while time.monotonic() < until and process.poll() is None:
            if len(list((self.path / "results" / "tiny").glob(pattern))) >= count:
                return
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"no {count} of {pattern}: {process.communicate()[0]}")

    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.path / 'mlflow.db'}")

    def runs(self) -> list[Run]:
        client = self.client()
        found = client.get_experiment_by_name("supercm_ray")
        assert found is not None
        return list(client.search_runs([found.experiment_id], max_results=1000))

    def optuna(self) -> optuna.Study:
        return optuna.load_study(study_name="tiny", storage=self.folder.optuna_url)

    def check_whole(self, num_trials: int, num_finalists: int) -> None:
        """Everything that was asked for is there once, closed, and complete."""
        states = Counter(trial.state.name for trial in self.optuna().trials)
        assert sum(states.values()) == num_trials
        assert set(states) <= {"COMPLETE", "PRUNED", "FAIL"}
        records = {record.key: record for record in self.folder.runs()}
        kinds = Counter(record.kind for record in records.values())
        assert kinds == {"trial": num_trials, "finalist": num_finalists}
        check_tracked(self.folder, self.client(), self.runs())


def check_tracked(folder: StudyFolder, client: MlflowClient, runs: list[Run]) -> None:
    """MLflow has the study and each record of it once, with the same status and the same epochs."""
    records = {record.key: record for record in folder.runs()}
    parents = [run for run in runs if run.data.tags["supercm.kind"] == "study"]
    children = {run.data.tags["supercm.run"]: run for run in runs if run not in parents}
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert len(children) == len(runs) - 1 == len(records)
    for key, run in children.items():
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.data.tags["supercm.status"] == records[key].status
        expected = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}[records[key].status]
        assert run.info.status == expected
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val/accuracy")]
        history = folder.run(key).history()
        assert steps == [metrics["epoch"] for metrics in history] == list(range(1, len(history) + 1))
