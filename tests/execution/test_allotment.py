"""The cores and GPUs that are allotted to this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supercm_ray.execution.allotment import cores_allotted, gpus_allotted

CORES = len(os.sched_getaffinity(0))
NAMED = {"SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "0,1"}


def write(root: Path, **files: str) -> Path:
    """A machine's files, below a folder; their names have `__` for `/`."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on 8 cores, as far as affinity goes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_affinity_alone_is_the_limit(tmp_path: Path) -> None:
    assert cores_allotted({}, tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("300000 100000", 3),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", 8),
        ("", 8),
        ("1600000 100000", 8),
    ],
)
def test_a_quota_of_version_two(tmp_path: Path, quota: str, cores: int) -> None:
    root = write(tmp_path, proc__self__cgroup="0::/kube/pod\n", sys__fs__cgroup__kube__pod__cpu_DOT_max=quota)
    assert cores_allotted({}, root) == cores


def test_a_quota_of_a_group_around(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="0::/kube/pod\n",
        sys__fs__cgroup__kube__pod__cpu_DOT_max="max 100000",
        sys__fs__cgroup__kube__cpu_DOT_max="200000 100000",
    )
    assert cores_allotted({}, root) == 2


def test_a_container_sees_its_group_at_the_top(tmp_path: Path) -> None:
    root = write(tmp_path, proc__self__cgroup="0::/../elsewhere\n", sys__fs__cgroup__cpu_DOT_max="400000 100000")
    assert cores_allotted({}, root) == 4


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("600000", 6), ("-1", 8)])
@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_version_one(tmp_path: Path, quota: str, cores: int, mount: str) -> None:
    folder = tmp_path / "sys/fs/cgroup" / mount / "docker/abc"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    root = write(tmp_path, proc__self__cgroup="5:devices:/\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    assert cores_allotted({}, root) == cores


@pytest.mark.parametrize(("given", "cores"), [("5", 5), ("64", 8), ("", 8), ("two", 8), ("0", 1)])
def test_the_cores_of_a_slurm_job(tmp_path: Path, given: str, cores: int) -> None:
    assert cores_allotted({"SLURM_CPUS_ON_NODE": given}, tmp_path) == cores


@pytest.mark.parametrize(("environ", "gpus"), [({}, None), ({"SLURM_GPUS_ON_NODE": "2"}, 2), (NAMED, None)])
def test_the_gpus_of_a_slurm_job(environ: dict[str, str], gpus: int | None) -> None:
    assert gpus_allotted(environ) == gpus


@pytest.mark.skipif(CORES < 2, reason="needs two cores to be given one of")
def test_taskset_gives_one_core() -> None:
    code = "from supercm_ray.execution.allotment import cores_allotted as c; print(c({}))"
    given = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    done = subprocess.run([*given, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
