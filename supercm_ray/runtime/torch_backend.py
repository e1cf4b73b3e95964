"""Connecting workers with torch.distributed on the network that Ray uses, without a port that loopback does not need.

Ray's own `TorchConfig` lets gloo find an interface by the host's name, which Debian resolves to 127.0.1.1, and opens a
store that listens on every interface. Here each worker uses the interface that has the address of its node in Ray; and
workers of a cluster on loopback connect over a file. It builds on `ray.train.backend.Backend`, which Ray offers to
developers of backends, and is sent to Ray's processes by value.
"""

from __future__ import annotations

import os
import socket
import struct
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
_SIOCGIFADDR = 0x8915  # Linux: the address of an interface


class NodeBackend(Backend):
    """Connects the workers before the loop and disconnects them after it."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: NodeTorchConfig) -> None:
        """Connects all workers; returns when all are connected."""
        config = backend_config
        backend = config.backend or ("nccl" if worker_group.get_resources_per_worker().get("GPU") else "gloo")
        if config.folder:
            url = f"file://{config.folder}/{uuid.uuid4().hex}"
        else:
            url = f"tcp://{worker_group.execute_single(0, _free_address)}"
        worker_group.execute(_connect, backend, url, config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: NodeTorchConfig) -> None:
        """Disconnects the workers; a worker that hangs delays this by a few seconds at most."""
        with suppress(GetTimeoutError):  # workers are killed next
            ray.get(worker_group.execute_async(_disconnect), timeout=_DISCONNECT_TIMEOUT_S)


@dataclass
class NodeTorchConfig(TorchConfig):
    """The configuration for workers that connect over their nodes' addresses, or over loopback.

    Attributes:
        folder: a folder of this machine for the file through which workers on loopback connect; empty for others.
    """

    folder: str = ""

    @property
    def backend_cls(self) -> type[NodeBackend]:
        """The class that connects the workers."""
        return NodeBackend


def interface_of(address: str) -> str:
    """Returns the name of the network interface that has this IPv4 address; empty if none has, or no one can tell."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without such an address
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""


def _free_address() -> str:
    """Returns this node's address with a free port. Runs on the first worker."""
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as found:
        found.bind((address, 0))
        port = found.getsockname()[1]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _connect(backend: str, url: str, timeout_s: float) -> None:
    """Sets the environment variables that torchrun sets, and joins the process group. Runs on each worker."""
    context = train.get_context()
    os.environ["RANK"] = str(context.get_world_rank())
    os.environ["WORLD_SIZE"] = str(context.get_world_size())
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    os.environ["LOCAL_WORLD_SIZE"] = str(context.get_local_world_size())
    os.environ["NODE_RANK"] = str(context.get_node_rank())
    interface = interface_of(ray.util.get_node_ip_address())
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if interface else ():
        os.environ.setdefault(name, interface)
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
