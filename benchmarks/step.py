"""Times a training step of this package against a plain loop (step_reference.py), side by side in one run.

    python benchmarks/step.py --out benchmarks/results/step.json

Each contestant is a process of its own, with its own memory, and they take steps in turn, so whatever else the machine
does affects them alike. All start from the same weights and train on the same batch, 50 + 50 samples of 32x32x3 random
pixels through WRN-28-2, drawn beforehand; drawing and augmentation are not timed. Medians are compared. `auto` is what
the options `auto` choose for the published 500 000 steps.

A FLOP rate counts the products of one forward and backward pass, without the pass for the centroids, for every
contestant alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import processor
from step_reference import ReferenceLoop
from torch.utils.flop_counter import FlopCounterMode

from supercm_ray.config import AlgorithmConfig, Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Batch, Dataset
from supercm_ray.models import build_classifier
from supercm_ray.training import TrainState, choose_device, train_step
from supercm_ray.training.speed import choose_speed

OFF = {"precision": "fp32", "compile": "off", "channels_last": False}
MEASURES: list[tuple[str, dict[str, Any]]] = [
    ("class sums at once, average at once, fused Adam", {}),
    ("+ channels last", {"channels_last": True}),
    ("+ centroids from the step's own features", {"centroid_source": "batch"}),
    ("+ compiled", {"compile": "on"}),
    ("+ bf16", {"precision": "bf16"}),
]
"""Changes from one row of the table to the next."""
OURS = {"centroid_source": "batch"}
COLUMNS: dict[str, dict[str, Any]] = {
    "ours_fp32": {**OURS, "precision": "fp32", "compile": "off"},
    "ours_auto": OURS,
}
REFERENCE = "reference"


def contestants(quick: bool) -> dict[str, dict[str, Any]]:
    """Returns the overrides of each contestant: the columns, then the table's rows, each with all changes above it."""
    table, settings = {}, dict(OFF)
    for name, added in MEASURES[:1] if quick else MEASURES:
        settings = {**settings, **added}
        table[name] = settings
    return {REFERENCE: {}, **COLUMNS, **table}


def config_of(settings: dict[str, Any], args: argparse.Namespace) -> Config:
    """Returns the published recipe of SuperCM on its own, with these overrides."""
    training = {name: value for name, value in settings.items() if name != "centroid_source"}
    rows = 8 if args.quick else 50
    return Config(
        seed=args.seed,
        data=DataConfig(label_ratio=0.1),
        model=ModelConfig(options={"channels": (8, 16)}) if args.quick else ModelConfig(name="wrn_28_2"),
        algorithm=AlgorithmConfig(
            clustering_weight=0.186,
            loss_reduction="all_samples",
            centroid_source=settings.get("centroid_source", "eval_pass"),
        ),
        training=TrainingConfig(
            num_epochs=500,
            steps_per_epoch=1000,
            labeled_batch_size=rows,
            unlabeled_batch_size=rows,
            learning_rate=3e-4,
            num_threads=args.threads,
            device=args.device,
            **training,
        ),
    )


def toy_data(args: argparse.Namespace) -> tuple[Dataset, Batch]:
    """Returns random images of ten classes and the batch of them that every step trains on."""
    device, rows, side = choose_device(args.device), 8 if args.quick else 50, 8 if args.quick else 32
    images = np.random.default_rng(args.seed).integers(0, 256, (2 * rows, 3, side, side)).astype(np.uint8)
    labels = np.arange(2 * rows) % 10
    dataset = Dataset("random", images, labels, tuple("abcdefghij"), (0.5,) * 3, (0.29,) * 3)
    pixels = (torch.from_numpy(images).float() / 255).to(device)
    labeled, unlabeled = pixels[:rows], pixels[rows:]
    places = torch.arange(rows, device=device)
    of_labeled = torch.from_numpy(labels[:rows]).to(device)
    return dataset, Batch(labeled, labeled, of_labeled, unlabeled, unlabeled, places, places)


def stepper(name: str, args: argparse.Namespace) -> Callable[[], torch.Tensor]:
    """Returns a function that takes one step of this contestant and returns its loss."""
    dataset, batch = toy_data(args)
    settings = contestants(args.quick)[name]
    config = config_of(settings, args)
    if name == REFERENCE:
        torch.manual_seed(args.seed)
        model = build_classifier(config, dataset).to(choose_device(args.device))
        loop = ReferenceLoop(model, 0.186, config.training.learning_rate, config.training.ema_decay)
        return lambda: loop.step(batch.labeled, batch.labels, batch.unlabeled)
    state = TrainState.create(config, dataset, choose_device(args.device))
    return lambda: train_step(state, batch)["loss"]


def serve(name: str, args: argparse.Namespace) -> None:
    """Warms up, then takes a step for each line of input and answers with its wall and processor seconds."""
    step = stepper(name, args)
    losses = [step().item() for _ in range(args.warmup)]
    print(json.dumps(losses[0]), flush=True)
    for _ in sys.stdin:
        synchronise()
        wall, busy = time.perf_counter(), time.process_time()
        step()
        synchronise()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - busy]), flush=True)


def synchronise() -> None:
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Contestant:
    """A process that takes steps on request."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        flags = [f"--{key}={getattr(args, key)}" for key in ("threads", "seed", "device", "warmup")]
        command = [sys.executable, __file__, "--serve", name, *flags, *(["--quick"] if args.quick else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first_loss = self._answer()
        self.wall: list[float] = []
        self.busy: list[float] = []

    def step(self) -> None:
        """Takes one step and keeps its times."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        wall, busy = self._answer()
        self.wall.append(wall)
        self.busy.append(busy)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant ended with {self._process.wait()}: {self._process.args}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def matrix_rate(dtype: torch.dtype, device: torch.device, size: int) -> float:
    """Returns FLOP/s of one product of square matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    synchronise()
    started = time.perf_counter()
    a @ b
    synchronise()
    return 2 * size**3 / (time.perf_counter() - started)


def flop_of_step(args: argparse.Namespace) -> int:
    """Returns the FLOP of convolutions and linear layers in one step, forward and backward."""
    dataset, batch = toy_data(args)
    model = build_classifier(config_of(OFF, args), dataset).to(batch.labeled.device)
    with FlopCounterMode(display=False) as counter:
        model(torch.cat([batch.labeled, batch.unlabeled])).logits.sum().backward()
    return int(counter.get_total_flops())


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Lets all contestants take `rounds` steps in turn and returns the results."""
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    load = [os.getloadavg()[0]]
    names = list(contestants(args.quick))
    runs = {name: Contestant(name, args) for name in names}
    size = 256 if args.quick else 8192 if device.type == "cuda" else 2048
    rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(args.rounds):
        for run in runs.values():
            run.step()
        for key, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rates[key].append(matrix_rate(dtype, device, size))
    for run in runs.values():
        run.close()
    load.append(os.getloadavg()[0])
    flop = flop_of_step(args)
    fp32_rate = statistics.median(rates["fp32"])
    rows = [row(name, runs[name], runs[REFERENCE], flop, fp32_rate) for name in names]
    medians = {line["name"]: line for line in rows}
    dataset, _ = toy_data(args)
    auto = config_of(COLUMNS["ours_auto"], args)
    return {
        "reference_s": medians[REFERENCE]["median_s"],
        "ours_fp32_s": medians["ours_fp32"]["median_s"],
        "ours_auto_s": medians["ours_auto"]["median_s"],
        "ratio_fp32": medians["ours_fp32"]["ratio"],
        "ratio_auto": medians["ours_auto"]["ratio"],
        "settings": COLUMNS,
        "auto_is": vars(choose_speed(auto, build_classifier(auto, dataset), dataset.shape, device)),
        "table": rows,
        "flop_per_step": flop,
        "matrix_product_gflops": {key: statistics.median(values) / 1e9 for key, values in rates.items()},
        "rounds": args.rounds,
        "threads": args.threads,
        "quick": args.quick,
        "load_average": load,
        **origin(args, device),
    }


def row(name: str, run: Contestant, reference: Contestant, flop: int, matrix_flops: float) -> dict[str, Any]:
    """Returns one contestant's row of the table."""
    median = statistics.median(run.wall)
    return {
        "name": name,
        "median_s": median,
        "least_s": min(run.wall),
        "ratio": statistics.median(reference.wall) / median,
        "ratio_least": min(reference.wall) / min(run.wall),
        "ratio_by_round": statistics.median(r / o for r, o in zip(reference.wall, run.wall, strict=True)),
        "ratio_processor_time": statistics.median(reference.busy) / statistics.median(run.busy),
        "gflops": flop / median / 1e9,
        "of_fp32_matrix_product": flop / median / matrix_flops,
        "first_loss": run.first_loss,
        "all_s": run.wall,
    }


def origin(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Returns what is needed to repeat the measurement: command, commit, machine and versions."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    return {
        "command": "python benchmarks/step.py " + " ".join(sys.argv[1:]),
        "commit": git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
        "hardware": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "isa": torch.backends.cpu.get_cpu_capability(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        },
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "os": platform.platform()},
        "seeds": [args.seed],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def show(result: dict[str, Any]) -> None:
    """Prints the table."""
    print(f"{'':50} {'median s':>9} {'least s':>8} {'ratio':>6} {'(least)':>8} {'(cpu s)':>8} {'GFLOP/s':>8}")
    for line in result["table"]:
        times = f"{line['median_s']:9.4f} {line['least_s']:8.4f} {line['ratio']:6.2f} {line['ratio_least']:8.2f}"
        print(f"{line['name']:50} {times} {line['ratio_processor_time']:8.2f} {line['gflops']:8.1f}")
    print(f"auto is {result['auto_is']}; matrix products: {result['matrix_product_gflops']} GFLOP/s")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file that gets the result, one JSON object")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each contestant that are timed")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few steps, to see that it runs")
    parser.add_argument("--serve", metavar="CONTESTANT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.serve:
        serve(args.serve, args)
        return
    if args.quick:
        args.rounds, args.warmup = 2, 1
    result = measure(args)
    show(result)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
