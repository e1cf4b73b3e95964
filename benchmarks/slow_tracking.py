"""A study that is tracked by a server whose every answer is late: what it costs training, and what is there at the end.

    python benchmarks/slow_tracking.py --trials 300 --delay-ms 200 --out benchmarks/results/slow_tracking.json

The same search, one epoch a trial and one trial at a time, is made untracked and tracked by a real `mlflow server`
behind a proxy that answers late. Both begin together and share the machine, so that its speed is the same for both.
The time of a search is that from the start of its first trial to the end of its last. Afterwards MLflow must have
every run with its metrics and its end. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from fire import PACKAGES, folder_of
from fire_backends import Server
from fire_proxy import Proxy
from mlflow import MlflowClient
from provenance import provenance

from supercm_ray.records import RunRecord, StudyFolder

ROOT = Path(__file__).resolve().parents[1]
UNTRACKED, TRACKED = "untracked", "tracked"


class LateProxy(Proxy):
    """Answers every request after the same time."""

    def __init__(self, target: str, delay_s: float) -> None:
        super().__init__(target, seed=0)
        self._delay_s = delay_s
        self.disturb("slow", 1.0)

    def seconds(self) -> float:
        """Returns how late every answer comes."""
        return self._delay_s


def study(num_trials: int) -> dict[str, Any]:
    """Returns a study of short trials."""
    return {
        "base": {
            "data": {"name": "digits", "label_ratio": 0.02},
            "model": {"name": "mlp", "options": {"channels": [16]}},
            "training": {"num_epochs": 1, "steps_per_epoch": 100, "device": "cpu", "num_threads": 1},
        },
        "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "budget": {"num_trials": num_trials},
        "num_seeds": 1,
    }


def start(folder: Path, num_trials: int, tracking: str, variables: dict[str, str]) -> subprocess.Popen[str]:
    """Starts the study in a folder of its own."""
    folder.mkdir(parents=True)
    (folder / "many.yaml").write_text(yaml.safe_dump({**study(num_trials), "tracking": tracking}))
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "supercm_ray.cli", "tune", "many.yaml", "--executor", "in-process"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def trials(folder: Path) -> list[RunRecord]:
    """Returns the trials of a study that has ended."""
    return StudyFolder.existing(folder / "results" / "many").runs("trial")


def search_s(folder: Path) -> float:
    """Returns the seconds from the start of the first trial to the end of the last."""
    found = trials(folder)
    return (max(one.ended_ms or 0 for one in found) - min(one.started_ms for one in found)) / 1000


def lacking(folder: Path, uri: str) -> list[str]:
    """Returns what MLflow does not have of a study."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("supercm_ray")
    runs = client.search_runs([experiment.experiment_id], max_results=5000) if experiment else []
    known = {run.data.tags.get("supercm.run"): run for run in runs}
    found = [f"{len(runs) - len(known)} runs twice"] if len(runs) > len(known) else []
    for view in StudyFolder.existing(folder / "results" / "many").views():
        run = known.get(view.record.key)
        if run is None or run.info.status != "FINISHED":
            found.append(f"{view.record.key}: no such run, or it is open")
        elif any(run.data.metrics.get(name) != view.metrics[name] for name in view.metrics if name[:4] == "val/"):
            found.append(f"{view.record.key}: metrics")
    return found


def pair(folder: Path, num_trials: int, delay_s: float) -> dict[str, Any]:
    """Runs the study twice, untracked and tracked, side by side."""
    server = Server(folder / "server")
    server.make()
    proxy = LateProxy(server.uri, delay_s)
    with ExitStack() as stack:
        stack.callback(server.close)
        stack.callback(proxy.stop)
        variables = {**server.credentials, "MLFLOW_TRACKING_URI": proxy.uri}
        began = time.monotonic()
        processes = {
            UNTRACKED: start(folder / UNTRACKED, num_trials, "none", {}),
            TRACKED: start(folder / TRACKED, num_trials, "mlflow", variables),
        }
        took = {}
        for name, process in processes.items():
            if process.wait() != 0:
                raise RuntimeError((folder / name / "output").read_text()[-2000:])
            took[name] = time.monotonic() - began
        os.environ.update(server.credentials)
        return {
            "search_s": {name: search_s(folder / name) for name in processes},
            "command_s": took,
            "num_trials": len(trials(folder / TRACKED)),
            "lacking": lacking(folder / TRACKED, server.uri),
            "backend": server.name,
        }


def main() -> None:
    """Runs the pairs and prints what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--delay-ms", type=float, default=200.0)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pairs = []
    for _ in range(arguments.pairs):
        with folder_of(argparse.Namespace(keep=None)) as folder:
            pairs.append(pair(folder, arguments.trials, arguments.delay_ms / 1000))
    ratios = [one["search_s"][TRACKED] / one["search_s"][UNTRACKED] for one in pairs]
    result = {
        **provenance(PACKAGES),
        "delay_ms": arguments.delay_ms,
        "pairs": pairs,
        "search_ratio": statistics.median(ratios),
        "lacking": sum(len(one["lacking"]) for one in pairs),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("delay_ms", "search_ratio", "lacking")}))


if __name__ == "__main__":
    main()
