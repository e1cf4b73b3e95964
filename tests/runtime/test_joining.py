"""Which Ray a command runs on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supercm_ray.errors import ClusterError
from supercm_ray.runtime.joining import address_to_join


@pytest.fixture
def answering() -> Iterator[str]:
    """An address at which somebody takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent(answering: str) -> str:
    """An address at which nobody does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def at_hand(tmp_path: Path, answering: str) -> dict[str, str]:
    """The environment on a node on which `ray start` has left its address."""
    return left_by_ray_start(tmp_path, answering)


def left_by_ray_start(folder: Path, address: str) -> dict[str, str]:
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)
    return {"RAY_TMPDIR": str(folder)}


def test_nothing_at_hand_is_this_machine(tmp_path: Path) -> None:
    assert address_to_join({"RAY_TMPDIR": str(tmp_path)}) is None


def test_a_cluster_at_hand_is_joined(at_hand: dict[str, str], answering: str) -> None:
    assert address_to_join(at_hand) == answering
    assert address_to_join({"TMPDIR": at_hand["RAY_TMPDIR"]}) == answering


def test_a_cluster_that_is_gone_is_not_at_hand(tmp_path: Path, silent: str) -> None:
    assert address_to_join(left_by_ray_start(tmp_path, silent)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_cluster_of_another_user_is_left_alone(at_hand: dict[str, str]) -> None:
    os.chown(Path(at_hand["RAY_TMPDIR"]) / "ray" / "ray_current_cluster", 12345, -1)
    assert address_to_join(at_hand) is None


def test_local_is_this_machine_alone(at_hand: dict[str, str]) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3"}
    assert address_to_join({**at_hand, **slurm, "RAY_ADDRESS": "local"}) is None


def test_the_given_address_comes_first(at_hand: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = f"127.0.0.1:{server.getsockname()[1]}"
        assert address_to_join({**at_hand, "RAY_ADDRESS": given}) == given


def test_auto_is_the_cluster_at_hand(at_hand: dict[str, str], answering: str, tmp_path: Path) -> None:
    assert address_to_join({**at_hand, "RAY_ADDRESS": "auto"}) == answering
    assert address_to_join({"RAY_TMPDIR": str(tmp_path / "none"), "RAY_ADDRESS": "auto"}) == "auto"


def test_a_given_address_must_answer(silent: str) -> None:
    with pytest.raises(ClusterError, match=rf"must answer at RAY_ADDRESS, got '{silent}'.*RAY_ADDRESS=local"):
        address_to_join({"RAY_ADDRESS": silent})


@pytest.mark.parametrize("given", ["ray://10.0.0.1:10001", "http://10.0.0.1:8265"])
def test_clients_from_outside_are_refused(given: str) -> None:
    with pytest.raises(ClusterError, match="must be HOST:PORT, auto or local"):
        address_to_join({"RAY_ADDRESS": given})


@pytest.mark.parametrize("given", ["10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:99999999"])
def test_half_an_address_is_refused(given: str) -> None:
    with pytest.raises(ClusterError, match="must answer at RAY_ADDRESS"):
        address_to_join({"RAY_ADDRESS": given})


@pytest.mark.parametrize("variable", ["SLURM_JOB_NUM_NODES", "SLURM_NNODES"])
def test_a_slurm_job_of_several_nodes_is_refused(at_hand: dict[str, str], variable: str) -> None:
    with pytest.raises(ClusterError, match=r"3 nodes.*launch/slurm.sh.*RAY_ADDRESS=local"):
        address_to_join({**at_hand, "SLURM_JOB_ID": "7", variable: "3"})


def test_a_slurm_job_does_not_guess(at_hand: dict[str, str], answering: str) -> None:
    with pytest.raises(ClusterError, match=f"RAY_ADDRESS={answering} to join it, or RAY_ADDRESS=local"):
        address_to_join({**at_hand, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"})


def test_a_slurm_job_of_one_node_is_alone(tmp_path: Path) -> None:
    assert address_to_join({"RAY_TMPDIR": str(tmp_path), "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}) is None
