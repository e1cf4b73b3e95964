"""`doctor` on three hosts: all is right, then one fault after another is made for real and found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from .bench import STUDY, Bench
from .hosts import ROOT, Host

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PACKAGE = str(ROOT / "supercm_ray")


@pytest.fixture(autouse=True)
def storage(bench: Bench) -> str:
    """A folder for checkpoints that all hosts see."""
    (bench.hosts.shared / "store").mkdir(exist_ok=True)
    return "/common/store"


def wrong(bench: Bench, *words: str, code: int = 1, state: str = "wrong", **variables: str) -> dict[str, list[str]]:
    """What `doctor` finds to be wrong with a study, by what it has looked at."""
    done = bench.give("doctor", *words, "--json", check=False, **variables)
    assert done.returncode == code, done.output
    checks = json.loads(done.output[done.output.index("{") :])["checks"]
    found: dict[str, list[str]] = {}
    for check in checks:
        if check["state"] == state:
            found.setdefault(check["name"], []).append(check["text"])
    return found


@contextmanager
def mounted(host: Host, *words: str, at: str) -> Iterator[None]:
    """Something mounted on a host, for that host alone."""
    host.exec("mount", *words, at)
    try:
        yield
    finally:
        host.exec("umount", at)


def test_nothing_is_wrong_with_a_cluster_of_three(bench: Bench, storage: str) -> None:
    done = bench.give("doctor", bench.file, f"training.storage_path={storage}")
    assert f"Ray 2.60 at {bench.head.address}: 3 nodes, 3 CPU" in done.output
    assert done.output.count("workers talk over eth0") == 3
    assert "a token is asked for" in done.output
    assert "gcs_server *:6379" in done.output
    assert "warning" not in done.output


def test_a_node_without_the_package_is_found(bench: Bench) -> None:
    missing = bench.hosts.shared / "missing"
    missing.mkdir(exist_ok=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'supercm_ray'\")")
    with mounted(bench.nodes[2], "--bind", "/common/missing", at=PACKAGE):
        (fault,) = wrong(bench)[f"node {bench.nodes[2].name}"]
    assert "the package supercm_ray must be importable, got ModuleNotFoundError" in fault


@pytest.mark.nightly
def test_a_node_with_another_version_is_found(bench: Bench) -> None:
    other = bench.hosts.shared / "other"
    shutil.copytree(PACKAGE, other, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "later.py").write_text("")
    with mounted(bench.nodes[2], "--bind", "/common/other", at=PACKAGE):
        (fault,) = wrong(bench)[f"node {bench.nodes[2].name}"]
    assert "the package must be supercm_ray 0.1.0 (code " in fault


@pytest.mark.nightly
def test_a_plugin_that_nodes_lack_is_found(bench: Bench) -> None:
    folder = bench.head.outside("/root/lib")
    folder.mkdir(exist_ok=True)
    (folder / "plugin_of_the_head.py").write_text("")
    bench.write_study(base=base(plugins=["plugin_of_the_head"]))
    found = wrong(bench, bench.file, PYTHONPATH=f"{ROOT}:/root/lib")
    assert found.keys() == {f"node {host.name}" for host in bench.nodes}
    assert all("No module named 'plugin_of_the_head'" in fault for (fault,) in found.values())


@pytest.mark.nightly
def test_a_plugin_of_the_working_directory_is_sent(bench: Bench) -> None:
    for name, text in (("plugin_here.py", ""), ("study.yaml", (bench.hosts.shared / f"{bench.name}.yaml").read_text())):
        bench.head.outside(f"/root/{name}").write_text(text)
    words = ("doctor", "study.yaml", "plugins=[plugin_here]", "training.storage_path=/common/store")
    done = bench.head.supercm_ray(*words, check=False, **bench.variables)
    assert done.returncode == 0, done.output


@pytest.mark.nightly
def test_data_of_one_host_are_found(bench: Bench) -> None:
    for host in bench.nodes[:2]:
        make_images(host, seed=0)
    make_images(bench.nodes[1], seed=1)
    data = {"name": "image_folder", "root": "/root/images", "labels_per_class": 2}
    bench.write_study(base=base(data={**data, "options": {"image_size": 8, "stream": "on"}}))
    found = wrong(bench, bench.file)
    (other,), (missing,) = (found[f"node {host.name}"] for host in bench.nodes[1:])
    assert "is another file here" in other
    assert "No such file or directory" in missing


@pytest.mark.nightly
def test_storage_that_is_read_only_is_found(bench: Bench, storage: str) -> None:
    with mounted(bench.nodes[2], "--bind", storage, at=storage):
        bench.nodes[2].exec("mount", "-o", "remount,ro,bind", storage)
        (fault,) = wrong(bench, bench.file, f"training.storage_path={storage}")[f"node {bench.nodes[2].name}"]
    assert f"checkpoints must be writable at {storage}, got OSError: [Errno 30] Read-only file system" in fault


@pytest.mark.nightly
def test_storage_that_is_not_shared_is_found(bench: Bench) -> None:
    found = wrong(bench, bench.file, "training.storage_path=/root/store", code=0, state="warning")
    assert found.keys() == {f"node {host.name}" for host in bench.nodes[1:]}
    assert all("are not shared with" in warning for (warning,) in found.values())


@pytest.mark.nightly
def test_a_full_disk_is_found(bench: Bench, storage: str) -> None:
    with mounted(bench.nodes[2], "-t", "tmpfs", "-o", "size=8m", "tmpfs", at=storage):
        (fault,) = wrong(bench, bench.file, f"training.storage_path={storage}")[f"node {bench.nodes[2].name}"]
    assert f"{storage} must have 100 MiB free, got 8 MiB" in fault


@pytest.mark.nightly
def test_too_little_shared_memory_is_found(bench: Bench) -> None:
    with mounted(bench.nodes[2], "-t", "tmpfs", "-o", "size=64m", "tmpfs", at="/dev/shm"):
        (warning,) = wrong(bench, "--results", "/common/store", code=0, state="warning")[f"node {bench.nodes[2].name}"]
    assert "the object store takes 143 MiB, got 64 MiB of shared memory" in warning


@pytest.mark.nightly
def test_a_wrong_token_is_found(bench: Bench) -> None:
    (fault,) = wrong(bench, RAY_AUTH_TOKEN="0" * 64)["cluster"]
    assert "must take this command" in fault


@pytest.mark.nightly
def test_a_command_without_a_token_is_found(bench: Bench) -> None:
    (fault,) = wrong(bench, RAY_AUTH_MODE="disabled")["cluster"]
    assert "must take this command" in fault


@pytest.mark.nightly
def test_sqlite_on_several_hosts_is_found(bench: Bench) -> None:
    (fault,) = wrong(bench, "--results", "/common/store", MLFLOW_TRACKING_URI="sqlite:////common/mlflow.db")["MLflow"]
    assert "MLflow must be a server" in fault


@pytest.mark.nightly
def test_an_mlflow_that_is_silent_is_found(bench: Bench) -> None:
    uri = f"http://{bench.head.address}:1"
    (fault,) = wrong(bench, "--results", "/common/store", MLFLOW_TRACKING_URI=uri)["MLflow"]
    assert f"MLflow must be usable at {uri}" in fault


@pytest.mark.nightly
def test_a_head_that_is_silent_is_found(bench: Bench) -> None:
    (fault,) = wrong(bench, "--address", f"{bench.head.address}:1")["cluster"]
    assert "a Ray cluster must answer at RAY_ADDRESS" in fault


@pytest.mark.nightly
def test_a_host_that_is_cut_is_found(bench: Bench) -> None:
    bench.nodes[2].cut()
    try:
        found = wrong(bench, "--results", "/common/store")
    finally:
        bench.nodes[2].heal()
    assert found.keys() == {f"node {bench.nodes[2].name}"}


def make_images(host: Host, seed: int) -> None:
    """Writes a folder of images to a host's own disk."""
    rng = np.random.default_rng(seed)
    for number in range(40):
        path = host.outside("/root/images") / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)


def base(**changes: object) -> dict[str, object]:
    """The base of the bench's study, with these sections changed."""
    given = STUDY["base"]
    assert isinstance(given, dict)
    return {**given, **changes}
