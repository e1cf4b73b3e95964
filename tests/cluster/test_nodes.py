"""Which nodes a study runs on: those that are fit, those that it waits for, and none that it was not meant for."""

from __future__ import annotations

import pytest

from .bench import Bench
from .hosts import ROOT, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def hide_package(bench: Bench) -> None:
    """Takes this package away from the last host; `restore` does not give it back, `umount` does."""
    missing = bench.hosts.shared / "missing"
    missing.mkdir(exist_ok=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'supercm_ray'\")")
    bench.nodes[2].exec("mount", "--bind", "/common/missing", str(ROOT / "supercm_ray"))


def give_package_back(bench: Bench) -> None:
    bench.nodes[2].exec("umount", str(ROOT / "supercm_ray"))


def test_a_node_without_the_package_is_left_out(bench: Bench) -> None:
    hide_package(bench)
    try:
        refused = bench.give("tune", bench.file, "--strict", check=False)
        shown = bench.tune()
    finally:
        give_package_back(bench)
    assert refused.returncode == 2, refused.output
    assert (
        "every node must be fit for --strict, got 1 that are not: two: the package supercm_ray must" in refused.output
    )
    assert "node two is left out: the package supercm_ray must be importable" in shown
    assert f"Ray 2.60 at {bench.head.address}: 2 nodes, 2 CPU" in shown
    assert bench.check_study()


def test_shipped_code_brings_a_node_back(bench: Bench) -> None:
    hide_package(bench)
    try:
        shown = bench.tune("--ship-code", "--strict")
    finally:
        give_package_back(bench)
    assert f"Ray 2.60 at {bench.head.address}: 3 nodes, 3 CPU" in shown
    assert bench.check_study()


@pytest.mark.nightly
def test_nodes_that_are_to_come_are_waited_for(bench: Bench) -> None:
    bench.nodes[2].crash()
    wait_until(lambda: len(bench.alive()) == 2, "the loss of a node", pause_s=1)
    refused = bench.give("tune", bench.file, "--min-nodes", "3", check=False)
    assert refused.returncode == 2, refused.output
    assert "must have 3 nodes with CPUs for --min-nodes, got 2" in refused.output
    process = bench.start_tune("--min-nodes", "3", "--wait", "300")
    process.wait_for_output("waiting for room")
    bench.nodes[2].on()
    bench.nodes[2].start_ray_node(bench.head)
    assert process.wait(600) == 0, process.output
    assert f"Ray 2.60 at {bench.head.address}: 3 nodes, 3 CPU" in process.output
    assert bench.check_study()
