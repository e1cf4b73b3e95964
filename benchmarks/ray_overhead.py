"""The overhead of Ray Train: the same training run on the same workers, started by torchrun and by Ray.

    python benchmarks/ray_overhead.py --pairs 5 --workers 2 --out benchmarks/results/ray_overhead.json

A pair is both runs from a fresh start, which then take turns, an epoch each in random order; during the turn of one,
all processes of the other are stopped (SIGSTOP). Both therefore run on the same machine, however its speed drifts, and
Ray's helper processes slow down Ray's run only. An epoch takes a second or more, so that each includes whatever Ray
does once a second; its time includes validation and passing on the message. A pair's ratio is the median over its
rounds. The output also has the processor time per step of the first worker, and the number of cores that Ray's other
processes use during its turns. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import random
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from provenance import processor

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.core import rank
from supercm_ray.data import load_dataset, split_dataset
from supercm_ray.records import EpochMetrics, Predictions
from supercm_ray.training import Job, train_job

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("torchrun", "ray")
_START_TIMEOUT_S = 180.0


def by_turns(job: Job) -> Iterator[EpochMetrics | Predictions]:
    """The loop's messages, an epoch for each byte that comes through this worker's gate in the job's folder. The first
    worker writes down what each epoch took.
    """
    folder = Path(job.storage)
    with (folder / f"gate-{rank()}").open("rb", buffering=0) as gate, (folder / "epochs").open("a") as epochs:
        note(epochs, {"began": time.time()})
        gate.read(1)
        began, cpu_s = time.perf_counter(), time.process_time()
        for message in train_job(job):
            done = time.perf_counter()
            yield message
            note(
                epochs,
                {
                    "seconds": time.perf_counter() - began,
                    "cpu_s": time.process_time() - cpu_s,
                    "hand_over_s": time.perf_counter() - done,
                    "val_accuracy": message.metrics["val/accuracy"],
                },
            )
            gate.read(1)
            began, cpu_s = time.perf_counter(), time.process_time()


def note(file: Any, line: dict[str, float]) -> None:
    """Adds a line to the first worker's notes."""
    if rank() == 0:
        file.write(json.dumps(line) + "\n")
        file.flush()


def make_job(arguments: argparse.Namespace, folder: Path) -> Job:
    """Returns the run: SuperCM on handwritten digits, with its checkpoints in this folder."""
    config = Config(
        data=DataConfig(label_ratio=0.1),
        model=ModelConfig(options={"channels": (16, 32)}),
        training=TrainingConfig(
            num_epochs=arguments.warm_up + arguments.epochs,
            steps_per_epoch=arguments.steps,
            labeled_batch_size=32,
            unlabeled_batch_size=32,
            device="cpu",
        ),
        seed=arguments.seed,
    )
    dataset = load_dataset(config.data)
    return Job(config, dataset, split_dataset(dataset, config), str(folder))


class Run:
    """One run, in processes of its own, that is advanced by one epoch at a time."""

    def __init__(self, way: str, arguments: argparse.Namespace, folder: Path) -> None:
        """Starts the run, and waits until its first worker is ready to train."""
        folder.mkdir()
        self.way = way
        self._notes = folder / "epochs"
        for number in range(arguments.workers):
            os.mkfifo(folder / f"gate-{number}")
        self._gates = [os.open(folder / f"gate-{number}", os.O_RDWR) for number in range(arguments.workers)]
        given = folder / "job.pkl"
        given.write_bytes(pickle.dumps(make_job(arguments, folder)))
        started = time.time()
        self._log = (folder / "log").open("w")
        options = ["--workers", str(arguments.workers), "--cpus-per-worker", str(arguments.cpus_per_worker)]
        script = [str(Path(__file__).resolve()), f"--{way}", str(given), *options]
        self._process = subprocess.Popen(
            [sys.executable, *COMMANDS[way](arguments), *script],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.start_up_s = self._next_note(0)["began"] - started
        self.epochs: list[dict[str, float]] = []
        self.helpers_cpu_s = 0.0

    def epoch(self) -> float:
        """Runs one epoch and returns its seconds. All processes of the run are stopped before and after."""
        pids = self.signal(signal.SIGCONT)
        before = helpers_cpu_s(pids)
        self._open_gates()
        self.epochs.append(self._next_note(len(self.epochs) + 1))
        self.helpers_cpu_s += helpers_cpu_s(pids) - before
        self.signal(signal.SIGSTOP)
        return self.epochs[-1]["seconds"]

    def end(self) -> None:
        """Waits until the run has ended."""
        self.signal(signal.SIGCONT)
        self._open_gates()
        self._process.wait(timeout=_START_TIMEOUT_S)
        for gate in self._gates:
            os.close(gate)
        self._log.close()

    def signal(self, number: int) -> set[int]:
        """Sends a signal to all processes of the run, and returns them."""
        pids = below(self._process.pid)
        for pid in pids:
            os.kill(pid, number)
        return pids

    def _open_gates(self) -> None:
        for gate in self._gates:
            os.write(gate, b"x")

    def _next_note(self, number: int) -> dict[str, float]:
        """Returns a line of the first worker's notes, as soon as it is there."""
        until = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            lines = self._notes.read_text().splitlines(keepends=True) if self._notes.exists() else []
            if len(lines) > number and lines[number].endswith("\n"):
                found: dict[str, float] = json.loads(lines[number])
                return found
            time.sleep(0.02)
        raise RuntimeError(f"the run gave no sign of life: {Path(self._log.name).read_text()[-2000:]}")


def torchrun_command(arguments: argparse.Namespace) -> list[str]:
    """Returns the command that runs a script on several workers under torchrun."""
    place = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    return ["-m", "torch.distributed.run", "--nproc-per-node", str(arguments.workers), *place]


COMMANDS: dict[str, Callable[[argparse.Namespace], list[str]]] = {"torchrun": torchrun_command, "ray": lambda _: []}


def work(job: Job) -> None:
    """Trains as one of torchrun's workers."""
    torch.distributed.init_process_group("gloo")
    for _ in by_turns(job):
        pass
    torch.distributed.destroy_process_group()


def drive(job: Job, arguments: argparse.Namespace) -> None:
    """Trains on workers under Ray Train."""
    from supercm_ray.runtime.cluster import ray_session
    from supercm_ray.runtime.worker_group import WorkerGroupRun, Workers

    workers = Workers(arguments.workers, cpus_per_worker=arguments.cpus_per_worker)
    with ray_session(), WorkerGroupRun(by_turns, job, workers, name="overhead") as run:
        for _ in run:
            pass


def below(pid: int) -> set[int]:
    """Returns a process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def helpers_cpu_s(pids: set[int]) -> float:
    """Returns the processor time so far of those processes that are not workers."""
    ticks = 0
    for pid in pids:
        try:
            name, fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)
        except OSError:  # it has ended
            continue
        if "RayTrain" not in name:
            ticks += sum(map(int, fields.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pair(arguments: argparse.Namespace, draw: random.Random, folder: Path) -> dict[str, Any]:
    """Runs both by turns, and returns the results of each and the ratio of their speeds in each round."""
    runs: dict[str, Run] = {}
    for way in draw.sample(WAYS, 2):
        runs[way] = Run(way, arguments, folder / way)
        runs[way].signal(signal.SIGSTOP)
    ratios = []
    for _ in range(arguments.warm_up + arguments.epochs):
        seconds = {way: runs[way].epoch() for way in draw.sample(WAYS, 2)}
        ratios.append(seconds["torchrun"] / seconds["ray"])
    for run in runs.values():
        run.end()
    return {"ratios": ratios[arguments.warm_up :], **{way: metrics_of(runs[way], arguments) for way in WAYS}}


def metrics_of(run: Run, arguments: argparse.Namespace) -> dict[str, float]:
    """Returns the metrics of one run's epochs."""
    steady = run.epochs[arguments.warm_up :]
    beside = {"helpers_cores": run.helpers_cpu_s / sum(epoch["seconds"] for epoch in run.epochs)}
    return {
        "steps_per_s": arguments.steps / statistics.median(epoch["seconds"] for epoch in steady),
        "cpu_ms_per_step": 1000 * statistics.median(epoch["cpu_s"] for epoch in steady) / arguments.steps,
        "hand_over_ms": 1000 * statistics.median(epoch["hand_over_s"] for epoch in steady),
        "hand_over_ms_max": 1000 * max(epoch["hand_over_s"] for epoch in steady),
        "start_up_s": run.start_up_s,
        "val_accuracy": steady[-1]["val_accuracy"],
        **(beside if run.way == "ray" else {}),
    }


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs all pairs, each run in a folder of its own."""
    draw, pairs = random.Random(arguments.seed), []
    for number in range(arguments.pairs):
        with tempfile.TemporaryDirectory(prefix="ray_overhead") as folder:
            pairs.append(pair(arguments, draw, Path(folder)))
        print(f"pair {number + 1}: {statistics.median(pairs[-1]['ratios']):.4f} {json.dumps(pairs[-1])}", flush=True)
    return pairs


def summary(pairs: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the metrics of all pairs, with their provenance."""
    by_pair = [statistics.median(pair["ratios"]) for pair in pairs]
    medians = {
        way: {name: statistics.median(pair[way][name] for pair in pairs) for name in pairs[0][way]} for way in WAYS
    }
    return {
        "ratio_steps_per_s": statistics.median(ratio for pair in pairs for ratio in pair["ratios"]),
        "ratio_by_pair": by_pair,
        "median": medians,
        "pairs": pairs,
        "settings": {name: value for name, value in vars(arguments).items() if name not in ("out", "quick", *WAYS)},
        **provenance(),
    }


def provenance() -> dict[str, Any]:
    """Returns command, commit, machine and versions."""
    from importlib.metadata import version

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "supercm_ray", "benchmarks") else ""),
        "hardware": {
            "cpu": processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_at_the_end": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "ray")}},
    }


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cpus-per-worker", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=20, help="rounds that count")
    parser.add_argument("--warm-up", type=int, default=2, help="rounds before them")
    parser.add_argument("--steps", type=int, default=100, help="steps of an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one pair of a few steps, to see that it works")
    for way in WAYS:
        parser.add_argument(f"--{way}", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.epochs, arguments.steps = 1, 3, 4
    return arguments


def main() -> None:
    """Measures, prints and writes the results."""
    arguments = parse()
    if arguments.torchrun:
        work(pickle.loads(arguments.torchrun.read_bytes()))
        return
    if arguments.ray:
        drive(pickle.loads(arguments.ray.read_bytes()), arguments)
        return
    text = json.dumps(summary(measure(arguments), arguments))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
