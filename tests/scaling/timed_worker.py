"""Times steps as one worker of several, on gloo; test_timing.py looks at what comes out.

`python timed_worker.py all WORKERS FOLDER HOW` starts the workers, each of which leaves a file in FOLDER. HOW is
`plain`, `slow` (worker 1 is slow to make batches), `large` (a network of which communication takes most) or `parity`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.core import rank
from supercm_ray.data import DeviceData, load_dataset, make_splits
from supercm_ray.records import StepTimings
from supercm_ray.scaling.step_profile import profile_steps
from supercm_ray.scaling.timing import TimingJob, endless_batches, time_job, time_steps
from supercm_ray.training import TrainState, fit, loop

SLOW_S = 0.4
BASE = Config(
    data=DataConfig(labels_per_class=4, shift_pixels=1),
    model=ModelConfig(options={"channels": (8, 16)}),
    training=TrainingConfig(
        num_epochs=2, steps_per_epoch=4, labeled_batch_size=20, unlabeled_batch_size=20, device="cpu"
    ),
)
LARGE = BASE.replace({"model.name": "mlp", "model.options.channels": [1024, 512]})


def slow_down() -> None:
    """Has worker 1 take its time for each batch."""
    drawn = loop.draw_batch

    def draw_batch(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SLOW_S if rank() == 1 else 0)
        return drawn(*args, **kwargs)

    loop.draw_batch = draw_batch


def timings(config: Config, num_steps: int) -> dict[str, Any]:
    """What was measured."""
    dataset = load_dataset(config.data)
    splits = make_splits(dataset.labels, config.data, config.seed)
    *_, last = time_job(TimingJob(config, dataset, splits, 2, num_steps))
    assert isinstance(last, StepTimings)
    return {**asdict(last), "nodes": tuple(node.name for node in last.nodes)}


def tensors(state: TrainState) -> dict[str, Tensor]:
    """Everything that steps change."""
    parts = {"model": state.model, "ema_model": state.ema_model, "centroids": state.centroids}
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def parity() -> list[dict[str, Tensor]]:
    """The state after eight steps of training, after eight that were timed whole, and after five that were timed whole
    and three that were profiled.
    """
    dataset, device = load_dataset(BASE.data), torch.device("cpu")
    data = DeviceData.of(dataset, make_splits(dataset.labels, BASE.data, BASE.seed), device)
    trained, timed, profiled = (TrainState.create(BASE, dataset, device) for _ in range(3))
    list(fit(trained, data))
    for state in (timed, profiled):
        loop.calibrate(state, data)
    time_steps(timed, endless_batches(timed, data), 8)
    batches = endless_batches(profiled, data)
    time_steps(profiled, batches, 5)
    profile_steps(profiled, batches, 2)
    return [tensors(state) for state in (trained, timed, profiled)]


def work(number: int, workers: int, folder: Path, how: str) -> None:
    """What a worker does."""
    torch.set_num_threads(1)
    if workers > 1:
        distributed.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=workers)
    if how == "slow":
        slow_down()
    found = parity() if how == "parity" else timings(LARGE if how == "large" else BASE, 6)
    torch.save(found, folder / f"{number}.pt")
    if workers > 1:
        distributed.destroy_process_group()
        os._exit(0)  # threads of gloo may still let go of tensors, which aborts an interpreter that is ending


def start(workers: str, folder: str, how: str) -> int:
    """Starts all workers and waits for them."""
    processes = [
        subprocess.Popen([sys.executable, __file__, str(number), workers, folder, how])
        for number in range(int(workers))
    ]
    return max(abs(process.wait()) for process in processes)


if __name__ == "__main__":
    if sys.argv[1] == "all":
        sys.exit(start(*sys.argv[2:]))
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
