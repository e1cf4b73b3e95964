"""What Ray Train costs: the same training run on the same workers, started by torchrun and by Ray, in turn.

    python benchmarks/ray_overhead.py --pairs 5 --workers 2 --out benchmarks/results/ray_overhead.json

Each pair is both, in random order, from a fresh start; Ray runs only while its own half does. An epoch takes a second
or more, so that each holds whatever Ray does once a second. Its rate is steps over the median time from one epoch's
message to the next, the first epochs left out, so that handing over messages and writing checkpoints count. Beside it
stand figures that other load on the machine hardly moves: processor time per step in the first worker, and cores that
Ray's other processes keep busy. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import platform
import random
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import load_dataset, split_dataset
from supercm_ray.training import Job, train_job

ROOT = Path(__file__).resolve().parents[1]


def timed(job: Job) -> Iterator[dict[str, Any]]:
    """The loop's messages, each with when it came and how long the one before took to hand over."""
    began, handed_over_s = time.time(), 0.0
    for message in train_job(job):
        before = time.perf_counter()
        cpu_s = time.process_time()
        yield {**message, "began": began, "at": before, "cpu_s": cpu_s, "handed_over_s": handed_over_s}
        handed_over_s = time.perf_counter() - before


def make_job(arguments: argparse.Namespace) -> Job:
    """The run: SuperCM on handwritten digits."""
    config = Config(
        data=DataConfig(label_ratio=0.1),
        model=ModelConfig(channels=(16, 32)),
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
    return Job(config, dataset, split_dataset(dataset, config), "")


def placed(job: Job, folder: Path) -> Job:
    """The job with its checkpoints in this folder."""
    return Job(job.config, job.dataset, job.splits, str(folder))


def by_torchrun(job: Job, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Runs the job under torchrun."""
    given, found = folder / "job.pkl", folder / "messages.json"
    given.write_bytes(pickle.dumps(placed(job, folder)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(arguments.workers)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    command += [str(Path(__file__).resolve()), "--worker", str(given), str(found)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    started = time.time()
    subprocess.run(command, check=True, env=environment, cwd=ROOT, capture_output=True)
    return {**figures(json.loads(found.read_text()), started, arguments), "whole_s": time.time() - started}


def work(given: Path, found: Path) -> None:
    """What torchrun starts: a worker, of which the first writes down the messages."""
    torch.distributed.init_process_group("gloo")
    messages = list(timed(pickle.loads(given.read_bytes())))
    if torch.distributed.get_rank() == 0:
        found.write_text(json.dumps(messages))
    torch.distributed.destroy_process_group()


def by_ray(job: Job, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Runs the job under Ray Train."""
    from supercm_ray.runtime import ray_session
    from supercm_ray.runtime.group import GroupRun, Workers

    before = time.time()
    with ray_session():
        started = time.time()
        workers = Workers(arguments.workers, cpus_per_worker=arguments.cpus_per_worker)
        with GroupRun(timed, placed(job, folder), workers, name="overhead", storage=folder / "ray") as run:
            messages, helped_s = [], []
            for message in run:
                messages.append(message)
                helped_s.append((time.time(), helpers_cpu_s()))
        whole_s = time.time() - started
    (since, cpu_since), (until, cpu_until) = helped_s[arguments.warm_up - 1], helped_s[-1]
    return {
        **figures(messages, started, arguments),
        "whole_s": whole_s,
        "cluster_start_s": started - before,
        "helpers_cores": (cpu_until - cpu_since) / (until - since),
    }


def helpers_cpu_s() -> float:
    """Processor time so far of this process and all below it but the workers: what Ray needs beside them."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = path.read_text().rsplit(")", 1)
            stats[int(path.parent.name)] = name, int(fields.split()[1]), sum(map(int, fields.split()[11:13]))
        except OSError:  # it has ended
            continue
    ours = {os.getpid()}
    for _ in range(5):
        ours |= {pid for pid, (_, parent, _) in stats.items() if parent in ours}
    ticks = sum(ticks for pid, (name, _, ticks) in stats.items() if pid in ours and "RayTrain" not in name)
    return ticks / os.sysconf("SC_CLK_TCK")


def figures(messages: list[dict[str, Any]], started: float, arguments: argparse.Namespace) -> dict[str, float]:
    """What one run's messages come to."""
    steady = messages[arguments.warm_up - 1 :]
    assert len(messages) == arguments.warm_up + arguments.epochs
    seconds = [later["at"] - earlier["at"] for earlier, later in itertools.pairwise(steady)]
    return {
        "steps_per_s": arguments.steps / statistics.median(seconds),
        "steps_per_s_of_all": arguments.steps * len(seconds) / sum(seconds),
        "cpu_ms_per_step": 1000 * (steady[-1]["cpu_s"] - steady[0]["cpu_s"]) / (arguments.steps * len(seconds)),
        "start_up_s": messages[0]["began"] - started,
        "hand_over_ms": 1000 * statistics.median(message["handed_over_s"] for message in steady[1:]),
        "hand_over_ms_max": 1000 * max(message["handed_over_s"] for message in steady[1:]),
        "val_accuracy": messages[-1]["val/accuracy"],
    }


def measure(arguments: argparse.Namespace) -> list[dict[str, dict[str, float]]]:
    """All pairs, each run in a folder of its own."""
    draw, job, pairs = random.Random(arguments.seed), make_job(arguments), []
    ways = {"torchrun": by_torchrun, "ray": by_ray}
    for number in range(arguments.pairs):
        pair = {}
        for name in draw.sample(sorted(ways), 2):
            with tempfile.TemporaryDirectory(prefix="ray_overhead") as folder:
                pair[name] = ways[name](job, arguments, Path(folder))
            print(f"pair {number + 1}, {name}: {json.dumps(pair[name])}", flush=True)
        pairs.append(pair)
    return pairs


def summary(pairs: list[dict[str, dict[str, float]]], arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures, with where they come from."""
    ratios = [pair["ray"]["steps_per_s"] / pair["torchrun"]["steps_per_s"] for pair in pairs]
    of_all = [pair["ray"]["steps_per_s_of_all"] / pair["torchrun"]["steps_per_s_of_all"] for pair in pairs]
    cpu = [pair["torchrun"]["cpu_ms_per_step"] / pair["ray"]["cpu_ms_per_step"] for pair in pairs]
    medians = {
        way: {name: statistics.median(pair[way][name] for pair in pairs) for name in pairs[0][way]}
        for way in ("torchrun", "ray")
    }
    return {
        "ratio_steps_per_s": statistics.median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "ratios": ratios,
        "ratio_steps_per_s_of_all": statistics.median(of_all),
        "ratio_steps_per_cpu_s": statistics.median(cpu),
        "median": medians,
        "pairs": pairs,
        "settings": {name: value for name, value in vars(arguments).items() if name not in ("out", "worker")},
        **provenance(),
    }


def provenance() -> dict[str, Any]:
    """Command, commit, machine and versions."""
    from importlib.metadata import version

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "supercm_ray", "benchmarks") else ""),
        "hardware": {
            "cpu": cpu[0] if cpu else platform.processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_at_the_end": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "ray")}},
    }


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cpus-per-worker", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=25, help="epochs that count")
    parser.add_argument("--warm-up", type=int, default=3, help="epochs before them")
    parser.add_argument("--steps", type=int, default=100, help="steps of an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one pair of a few steps, to see that it works")
    parser.add_argument("--worker", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.epochs, arguments.steps = 1, 3, 4
    return arguments


def main() -> None:
    """Measures, prints, writes."""
    arguments = parse()
    if arguments.worker:
        work(*arguments.worker)
        return
    text = json.dumps(summary(measure(arguments), arguments))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
