"""Description of the node that this process runs on."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import torch

from supercm_ray.records import Node


def this_node() -> Node:
    """Describes the node of this process, as far as it affects speed."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Node(
        name=socket.gethostname(),
        cpu=_cpu_model(),
        num_cpus=cpus or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        system=f"{platform.system()} {platform.release()}",
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
