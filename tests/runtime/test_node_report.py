"""What is said of a node by what it has found; faults that one machine cannot have for real are told here."""

from __future__ import annotations

import dataclasses

import pytest

from supercm_ray.runtime.node_report import Asked, NodeFacts, NodeReport, judge
from supercm_ray.runtime.nodes import Node

NODE = Node("id", "two", "10.0.0.2", 4.0, 1.0, object_store_bytes=1e9)
HERE = NodeFacts(
    host="head",
    clock=100.0,
    python="3.11.7",
    ray="2.60.0",
    package_error="",
    version="0.1.0",
    code="abc",
    commit="1234",
    plugin_errors={},
    data_error="",
    storage_error="",
    sees_marker=True,
    free={"/tmp": 10**12},
    shared_memory=10**10,
    resolves_to="127.0.1.1",
    interfaces={"lo": "127.0.0.1", "eth0": "10.0.0.2"},
    gpus="1 NCCL 2 27 3",
)
ASKED = Asked(HERE, began=100.0, ended=105.0, storage="/store", come_back=True, num_nodes=2)


def report(node: Node = NODE, asked: Asked = ASKED, **changes: object) -> NodeReport:
    return judge(node, dataclasses.replace(HERE, **changes), asked)  # type: ignore[arg-type]


def test_a_node_like_the_driver_is_right() -> None:
    found = report()
    assert (found.faults, found.warnings) == ((), ())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"python": "3.12.1"}, "Python must be 3.11, as here, got 3.12"),
        ({"ray": "2.59.0"}, "Ray must be 2.60.0, as here, got 2.59.0"),
        ({"package_error": "ImportError: no"}, "must be importable, got ImportError: no; install it there, or send it"),
        (
            {"code": "abd", "commit": ""},
            "(code abc, commit 1234), as here, got supercm_ray 0.1.0 (code abd)",
        ),
        ({"plugin_errors": {"mine": "ImportError: no"}}, "the plug-in mine must be importable, got ImportError: no"),
        ({"data_error": "OSError: no"}, "the data must be the same as here, got OSError: no"),
        ({"storage_error": "OSError: no"}, "checkpoints must be writable at /store, got OSError: no"),
        ({"free": {"/x": 5 * 2**20}}, "/x must have 100 MiB free, got 5 MiB"),
    ],
)
def test_each_fault_is_told_alone(changes: dict[str, object], fault: str) -> None:
    (found,) = report(**changes).faults
    assert fault in found


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"sees_marker": False}, "checkpoints in /store are not shared with head"),
        ({"free": {"/x": 2**30}}, "/x has 1024 MiB free"),
        ({"shared_memory": 64 * 2**20}, "the object store takes 954 MiB, got 64 MiB of shared memory"),
        ({"clock": 90.0}, "its clock is 10 s or more off that of head"),
        ({"clock": 108.5}, "its clock is 4 s or more off that of head"),
        ({"interfaces": {"lo": "127.0.0.1", "eth0": "172.17.0.2"}}, "no network interface has the address 10.0.0.2"),
        ({"gpus": "0 NCCL 2 27 3"}, "torch must see the 1 GPU that Ray hands out, got: 0 NCCL"),
        ({"gpus": "no GPU"}, "torch must see the 1 GPU that Ray hands out, got: no GPU"),
        ({"gpus": "1"}, "torch must have NCCL"),
        ({"gpus": "1 NCCL"}, "torch must have NCCL"),
    ],
)
def test_each_warning_is_told_alone(changes: dict[str, object], warning: str) -> None:
    found = report(**changes)
    assert found.faults == ()
    (told,) = found.warnings
    assert warning in told


def test_what_is_written_there_must_come_back() -> None:
    (told,) = report(asked=dataclasses.replace(ASKED, come_back=False)).warnings
    assert "what it writes to /store is not seen on head" in told


def test_one_node_shares_with_nobody() -> None:
    assert report(asked=dataclasses.replace(ASKED, num_nodes=1), sees_marker=False).warnings == ()


def test_micro_versions_of_python_may_differ() -> None:
    assert report(python="3.11.2").faults == ()
