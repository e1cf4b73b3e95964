"""How busy the machines of a run are: processors, memory and GPUs, under MLflow's names for them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch

from supercm_ray.core import all_gather_object

PREFIX = "system/"
"""What the names of these metrics begin with; MLflow shows them on a page of their own."""
_MEGABYTE = 1e6


@dataclass(frozen=True)
class _Sample:
    """What one worker sees of its machine.

    Attributes:
        node: host name.
        metrics: processors since the worker's last sample, and memory.
        gpu: the worker's GPU; empty without one.
    """

    node: str
    metrics: Mapping[str, float]
    gpu: Mapping[str, float]


class SystemMetrics:
    """Measures the machines of all workers once an epoch."""

    def __init__(self, device: torch.device) -> None:
        """Begins to measure.

        Args:
            device: the device that this worker trains on.
        """
        self._device = device
        psutil.cpu_percent()  # the first call only begins to measure

    def measure(self) -> dict[str, float]:
        """Returns the metrics of all nodes since the last call; every worker must call this, and gets the same.

        Processors and GPUs are in percent of what the machine has, memory in megabytes and percent. On several nodes
        the names have that of the node in them.
        """
        return _by_node(all_gather_object(_Sample(socket.gethostname(), _of_machine(), _of_gpu(self._device))))


def _of_machine() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / _MEGABYTE,
        "system_memory_usage_percentage": memory.percent,
    }


def _of_gpu(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    used = {
        "memory_usage_megabytes": (total - free) / _MEGABYTE,
        "memory_usage_percentage": 100 * (total - free) / total,
    }
    try:
        return {**used, "utilization_percentage": float(torch.cuda.utilization(device))}
    except (ImportError, RuntimeError):  # without NVIDIA's library, or on a GPU that does not tell
        return used


def _by_node(samples: Sequence[_Sample]) -> dict[str, float]:
    """Returns the metrics of each node once, those of its workers' GPUs by their order there."""
    nodes: dict[str, list[_Sample]] = {}
    for sample in samples:
        nodes.setdefault(sample.node, []).append(sample)
    found: dict[str, float] = {}
    for node, here in nodes.items():
        place = PREFIX if len(nodes) == 1 else f"{PREFIX}{node}/"
        found |= {f"{place}{name}": value for name, value in here[0].metrics.items()}
        gpus = [sample.gpu for sample in here if sample.gpu]
        found |= {f"{place}gpu_{i}_{name}": value for i, gpu in enumerate(gpus) for name, value in gpu.items()}
    return found
