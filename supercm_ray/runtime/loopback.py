"""Connecting workers of one machine with torch.distributed, without a port that other machines can reach.

The store that torch opens for Ray's own `TorchConfig` listens on every interface. This one is a file. It builds on
`ray.train.backend.Backend`, which Ray offers to developers of backends, and is sent to Ray's processes by value.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray import train
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig
from torch import distributed

_DISCONNECT_TIMEOUT_S = 5.0


class LoopbackBackend(Backend):
    """Connects the workers over a file before the loop and disconnects them after it."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: LoopbackTorchConfig) -> None:
        """Connects all workers; returns when all are connected."""
        url = f"file://{backend_config.folder}/{uuid.uuid4().hex}"
        worker_group.execute(_connect, backend_config.backend, url, backend_config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: LoopbackTorchConfig) -> None:
        """Disconnects the workers; a worker that hangs delays this by a few seconds at most."""
        with suppress(GetTimeoutError):  # workers are killed next
            ray.get(worker_group.execute_async(_disconnect), timeout=_DISCONNECT_TIMEOUT_S)


@dataclass
class LoopbackTorchConfig(TorchConfig):
    """The configuration for a cluster that listens on loopback alone.

    Attributes:
        folder: a folder of this machine for the file through which workers connect.
    """

    folder: str = ""

    @property
    def backend_cls(self) -> type[LoopbackBackend]:
        """The class that connects the workers."""
        return LoopbackBackend


def _connect(backend: str, url: str, timeout_s: float) -> None:
    """Sets the environment variables that torchrun sets, and joins the process group. Runs on each worker."""
    context = train.get_context()
    os.environ["RANK"] = str(context.get_world_rank())
    os.environ["WORLD_SIZE"] = str(context.get_world_size())
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    os.environ["LOCAL_WORLD_SIZE"] = str(context.get_local_world_size())
    os.environ["NODE_RANK"] = str(context.get_node_rank())
    distributed.init_process_group(
        backend,
        init_method=url,
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        timeout=timedelta(seconds=timeout_s),
    )


def _disconnect() -> None:
    """Leaves the process group. Runs on each worker."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
