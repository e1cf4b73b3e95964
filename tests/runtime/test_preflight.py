"""What is checked on every node: a cluster of this machine whose nodes differ in what they can import."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster

import supercm_ray
from supercm_ray.config import ClusterOptions, DataConfig
from supercm_ray.data import load_dataset
from supercm_ray.errors import ClusterError
from supercm_ray.runtime import cluster as sessions
from supercm_ray.runtime.node_report import NodeReport
from supercm_ray.runtime.preflight import Question, ask_nodes, unfit_nodes
from supercm_ray.runtime.shipping import code_to_ship

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
PACKAGE = Path(supercm_ray.__file__).parent


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders for a node's PYTHONPATH: `none` hides this package, `other` has another version of it."""
    folder = tmp_path_factory.mktemp("shadows")
    (folder / "none").mkdir()
    (folder / "none" / "supercm_ray.py").write_text("raise ModuleNotFoundError(\"No module named 'supercm_ray'\")")
    shutil.copytree(PACKAGE, folder / "other" / "supercm_ray", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "other" / "supercm_ray" / "later.py").write_text("")
    return folder


@pytest.fixture(scope="module")
def cluster(shadows: Path) -> Iterator[Cluster]:
    """A head that has the package, a node that lacks it, and one with another version of it."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for name in ("none", "other"):
            made.add_node(**NODE, env_vars={"PYTHONPATH": str(shadows / name)}, labels={"has": name})
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a plug-in."""
    (tmp_path / "my_plugin_of_tests.py").write_text("FOUND = True\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


@pytest.fixture
def joined(no_ray: None, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a command that joins the cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield monkeypatch
    ray.shutdown()


def labels() -> dict[str, str]:
    """What each node has, by its id."""
    return {node["NodeID"]: node["Labels"].get("has", "all") for node in ray.nodes() if node["Alive"]}


def ask(question: Question) -> dict[str, NodeReport]:
    return {labels()[report.node.id]: report for report in ask_nodes(question)}


def test_nodes_that_lack_the_package_are_left_out(joined: None, in_folder: Path) -> None:
    said: list[str] = []
    with sessions.ray_session():
        unfit = unfit_nodes(Question(storage=str(in_folder / "results")), ClusterOptions(), said.append)
        assert {labels()[node]: reason.partition(",")[0] for node, reason in unfit.items()} == {
            "none": "the package supercm_ray must be importable",
            "other": "the package must be supercm_ray 0.1.0 (code " + ask(Question())["all"].facts.code,  # type: ignore[union-attr]
        }
        assert len(said) == 2
        assert all("is left out" in line for line in said)
        assert not (in_folder / "results").exists(), "nothing stays"
        with pytest.raises(ClusterError, match=r"for --strict, got 2 that are not: .*No module named 'supercm_ray'"):
            unfit_nodes(Question(), ClusterOptions(strict=True), print)


def test_shipped_code_makes_all_nodes_fit(joined: None, in_folder: Path) -> None:
    code = code_to_ship(["my_plugin_of_tests"], ship_code=True)
    with sessions.ray_session(code):
        reports = ask(Question(plugins=("my_plugin_of_tests",), storage=str(in_folder / "results")))
    assert {name: report.faults for name, report in reports.items()} == {"all": (), "none": (), "other": ()}
    assert {report.warnings for report in reports.values()} == {()}


def test_a_plugin_that_is_not_there_is_named(joined: None, in_folder: Path) -> None:
    with sessions.ray_session():
        report = ask(Question(plugins=("no_such_plugin",)))["all"]
    assert report.faults == (
        "the plug-in no_such_plugin must be importable, got ModuleNotFoundError: No module named 'no_such_plugin'; "
        "install it there, or what it imports",
    )


def test_images_that_differ_are_found(joined: None, in_folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        path = in_folder / "images" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    given = {"root": str(in_folder / "images"), "options": {"image_size": 8, "stream": "on"}}
    images = load_dataset(DataConfig(name="image_folder", labels_per_class=2, **given)).images
    with sessions.ray_session():
        assert ask(Question(images=images))["all"].faults == ()
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(in_folder / "images" / "a" / "00.png")
        (fault,) = ask(Question(images=images))["all"].faults
        assert "00.png is another file here" in fault
        shutil.rmtree(in_folder / "images" / "a")
        (fault,) = ask(Question(images=images))["all"].faults
        assert "No such file" in fault


def test_a_node_that_hangs_is_left_out(joined: None, cluster: Cluster) -> None:
    node = next(iter(cluster.worker_nodes))
    raylet = node.all_processes["raylet"][0].process.pid
    with sessions.ray_session():
        ask_nodes(Question())  # which starts the processes that answer
        os.kill(raylet, signal.SIGSTOP)
        try:
            reports = ask_nodes(Question(), timeout_s=8)
        finally:
            os.kill(raylet, signal.SIGCONT)
    silent = {report.node.id: report.faults[0] for report in reports if report.facts is None}
    assert "must answer within 8 s" in silent[node.node_id]


def test_where_nothing_remains_is_refused(joined: None) -> None:
    with sessions.ray_session():
        with pytest.raises(ClusterError, match=r"a node must be fit to train, got none: .*no_such_plugin"):
            unfit_nodes(Question(plugins=("no_such_plugin",)), ClusterOptions(), print)


def test_a_machine_alone_is_not_asked(ray_cluster: None) -> None:
    assert unfit_nodes(Question(plugins=("no_such_plugin",)), ClusterOptions(strict=True), print) == {}
