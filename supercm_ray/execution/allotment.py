"""The part of this machine that this process may use: CPU cores and GPUs that the system or SLURM allots to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path("/")


def cores_allotted(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> int:
    """Returns the number of CPU cores that this process may use, at least 1: those it may run on (`taskset`, cpusets),
    no more than the CPU quota of its control group (containers, Kubernetes), rounded down, nor than the cores of the
    SLURM job on this node.

    Args:
        environ: environment variables.
        root: the folder in which `proc` and `sys` lie.
    """
    limits = [float(len(os.sched_getaffinity(0))), *_cpu_quotas(root)]
    job = environ.get("SLURM_CPUS_ON_NODE", "")
    if job.isdigit():
        limits.append(float(job))
    return max(1, int(min(limits)))


def gpus_allotted(environ: Mapping[str, str] = os.environ) -> int | None:
    """Returns the number of GPUs of the SLURM job on this node, or None where Ray finds out: without SLURM, and with
    CUDA_VISIBLE_DEVICES, which names those that this process may use.
    """
    job = environ.get("SLURM_GPUS_ON_NODE", "")
    return int(job) if job.isdigit() and "CUDA_VISIBLE_DEVICES" not in environ else None


def alone(what: str, cores: float) -> str:
    """Returns the line that says that a command runs on `what`, such as `this process`, and on nothing else."""
    return f"{what} alone, {cores:g} of {os.cpu_count()} cores"


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Yields the quotas, in cores, of this process's control groups and of those around them."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _quotas(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            yield from _quotas(root / "sys/fs/cgroup" / controllers, path, _quota_v1)
            yield from _quotas(root / "sys/fs/cgroup/cpu", path, _quota_v1)


def _quotas(mount: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Yields the quotas along a path; in a container the path may be that of the node, and the group be at the top."""
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        quota = read(folder)
        if quota is not None:
            yield quota
        if folder == mount:
            return


def _quota_v2(folder: Path) -> float | None:
    return _ratio(*_text(folder / "cpu.max").split()[:2])


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str = "", period: str = "") -> float | None:
    """Returns quota by period, or None for no quota, which is `max` or -1."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not there, as on other systems
        return ""
