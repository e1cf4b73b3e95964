"""Raw figures made by a law, for tests of what is computed and drawn from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from supercm_ray.scaling import Host, Raw, Repetition, SimulationRequest, TargetRun, TuningRun


def repetition(count: int, number: int, generator: np.random.Generator, **values: Any) -> Repetition:
    slowdown = (1 + 0.05 * (count - 1) + 0.01 * count * (count - 1)) / count
    steps = 0.1 * slowdown * (1 + 0.01 * generator.standard_normal()) * (1 + 0.02 * generator.standard_normal(20))
    mean = float(steps.mean())
    alone = count == 1
    made: dict[str, Any] = {
        "workers": count,
        "repetition": number,
        "order": 4 * number + count % 4,
        "seed": number,
        "started_ms": 1_700_000_000_000 + 1000 * number,
        "startup_s": 2.0 if alone else 15.0,
        "step_s": tuple(steps.tolist()),
        "labeled_rows": 32,
        "unlabeled_rows": 96,
        "data_s": 0.05 * mean,
        "communication_s": 0.0 if alone else 0.2 * mean,
        "waiting_s": 0.0 if alone else 0.1 * mean,
        "compute_s": (0.95 if alone else 0.65) * mean,
        "peak_memory_bytes": 500_000_000 + 1_000_000 * count,
        "utilisation": 0.8,
        "gradient_bytes": 4_000_000,
        "small_squares": () if alone else (2 + 18 / (128 / count),) * 20,
        "big_squares": () if alone else (2 + 18 / 128,) * 20,
        "nodes": ("a",) * count,
    }
    return Repetition(**(made | values))


def raw(counts: tuple[int, ...] = (1, 2, 4, 8), repetitions: int = 3, **values: Any) -> Raw:
    generator = np.random.default_rng(0)
    made: dict[str, Any] = {
        "study": "digits",
        "mode": "strong",
        "job_rows": 5_000_000,
        "command": "supercm-ray scale search_spaces/digits.yaml --workers 1,2,4,8",
        "commit": "0123abcd",
        "versions": {"torch": "2.11", "ray": "2.60"},
        "hosts": (Host(name="a", cpu="some processor", num_cpus=8, memory_bytes=2**34),),
        "warmup_steps": 5,
        "price": 2.0,
        "target_accuracy": 0.9,
        "skipped": {"16 workers": "the cluster has room for 8 workers"},
        "repetitions": tuple(repetition(count, i, generator) for i in range(repetitions) for count in counts),
        "targets": tuple(
            TargetRun(workers=n, seed=i, reached=i < 2, seconds=60.0 / n + i, rows=9000 + i)
            for n in counts
            for i in range(3)
        ),
        "tuning": tuple(
            TuningRun(
                trials_at_once=n,
                repetition=0,
                num_trials=12,
                seconds=360.0 / n**0.7,
                best=((20.0 / n, 0.5), (100.0 / n, 0.8), (300.0 / n, 0.9)),
            )
            for n in (1, 2, 4)
        ),
        "simulation": SimulationRequest(counts=(16, 32), bandwidth=1e9, latency_s=1e-5, workers_per_node=8),
    }
    return Raw(**(made | values))
