"""What this machine is."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import torch

from supercm_ray.scaling.raw import Host


def this_host() -> Host:
    """A fingerprint of the machine that this process runs on, as far as it bears on speed."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Host(
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
