"""Measurements made by a speedup model, for tests of what is computed and drawn from them. No two are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from supercm_ray.config import Objective, SimulationConfig
from supercm_ray.records import Node
from supercm_ray.scaling import Measurements
from supercm_ray.scaling.measured_runs import TargetRun, TuningRun
from supercm_ray.scaling.repetition import Repetition


def repetition(num_workers: int, number: int, generator: np.random.Generator, **values: Any) -> Repetition:
    slowdown = (1 + 0.05 * (num_workers - 1) + 0.01 * num_workers * (num_workers - 1)) / num_workers
    steps = 0.1 * slowdown * (1 + 0.01 * generator.standard_normal()) * (1 + 0.02 * generator.standard_normal(20))
    mean = float(steps.mean())
    alone = num_workers == 1
    some = (1 + 0.2 * generator.uniform(-1, 1, 8)).tolist()
    made: dict[str, Any] = {
        "num_workers": num_workers,
        "repetition": number,
        "order": 4 * number + num_workers % 4,
        "seed": number,
        "started_ms": 1_700_000_000_000 + 1000 * number,
        "startup_s": (2.0 if alone else 15.0) * some[0],
        "step_s": tuple(steps.tolist()),
        "labeled_samples": 32,
        "unlabeled_samples": 96,
        "data_s": 0.05 * mean * some[1],
        "communication_s": 0.0 if alone else 0.2 * mean * some[2],
        "straggler_wait_s": 0.0 if alone else 0.1 * mean * some[3],
        "compute_s": (0.95 if alone else 0.65) * mean * some[4],
        "peak_memory_bytes": int((500_000_000 + 1_000_000 * num_workers) * some[5]),
        "utilisation": 0.8 * some[6],
        "gradient_bytes": 4_000_000,
        "num_collectives": 0 if alone else 5,
        "collective_bytes": 0 if alone else 4_100_000,
        "small_squares": () if alone else (2 + 18 / (128 / num_workers),) * 20,
        "big_squares": () if alone else (2 + 18 / 128,) * 20,
        "nodes": tuple("ab"[i // 4] for i in range(num_workers)),
    }
    return Repetition(**(made | values))


def search(at_once: int, number: int, share: float = 0.0) -> TuningRun:
    return TuningRun(
        trials_at_once=at_once,
        repetition=number,
        gpus_per_trial=share,
        num_trials=12,
        num_complete=7 - number,
        num_pruned=4,
        num_failed=1 + number,
        seconds=(360.0 + 30 * number**2) / at_once**0.7,
        best=((20.0 / at_once, 0.5), (100.0 / at_once, 0.8), (300.0 / at_once, 0.9)),
    )


def measurements(num_workers: tuple[int, ...] = (1, 2, 4, 8), repetitions: int = 5, **values: Any) -> Measurements:
    generator = np.random.default_rng(0)
    made: dict[str, Any] = {
        "study": "digits",
        "mode": "strong",
        "job_samples": 5_000_000,
        "command": "supercm-ray scale search_spaces/digits.yaml --num-workers 1,2,4,8",
        "commit": "0123abcd",
        "versions": {"torch": "2.11", "ray": "2.60"},
        "nodes": (Node(name="a", cpu="some processor", num_cpus=8, memory_bytes=2**34),),
        "warmup_steps": 5,
        "price_per_gpu_hour": 2.0,
        "target_accuracy": 0.9,
        "skipped": {"16 workers": "the cluster has room for 8 workers"},
        "repetitions": tuple(repetition(count, i, generator) for i in range(repetitions) for count in num_workers),
        "targets": tuple(
            TargetRun(num_workers=n, seed=i, reached=i < 2, seconds=60.0 / n + 3 * i, samples=9000 + 10 * i)
            for n in num_workers
            for i in range(3)
        ),
        "objective": Objective(metric="val/accuracy", direction="maximize"),
        "tuning": tuple(search(n, i) for n in (1, 2, 4) for i in range(3)),
        "simulation": SimulationConfig(
            num_workers=(12, 16, 32), bandwidth=1e9, latency_s=1e-5, workers_per_node=8, overlap=0.25
        ),
    }
    return Measurements(**(made | values))
