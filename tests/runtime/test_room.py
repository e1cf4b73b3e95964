"""How many runs fit the nodes, and waiting for nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from supercm_ray.config import Budget, ClusterOptions
from supercm_ray.errors import ClusterError, StudyError
from supercm_ray.runtime import nodes, room
from supercm_ray.runtime.nodes import alive_nodes, where
from supercm_ray.runtime.room import processes_that_fit, wait_for_room, workers_that_fit


def node(name: str, cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, object]:
    """A node as `ray.nodes` tells of it."""
    has = {"CPU": cpus, "GPU": gpus, "memory": 1e9}
    return {
        "NodeID": f"id-{name}",
        "NodeManagerHostname": name,
        "NodeManagerAddress": f"10.0.0.{ord(name[0])}",
        "Alive": alive,
        "Resources": {key: value for key, value in has.items() if value},
    }


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The nodes of a cluster, to be filled."""
    found: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "nodes", lambda: found)
    return found


def test_room_is_counted_by_node(cluster: list[dict[str, object]]) -> None:
    cluster += [node("a", 1), node("b", 3), node("c", 5), node("d", 8, alive=False)]
    assert processes_that_fit(Budget(cpus_per_worker=2), alive_nodes()) == 1 + 2
    assert processes_that_fit(Budget(cpus_per_worker=2), alive_nodes({"id-c"})) == 1
    assert workers_that_fit({"CPU": 2.0}, alive_nodes()) == 3
    assert workers_that_fit({"CPU": 2.0}, alive_nodes({"id-c"})) == 1


def test_what_fits_no_node_is_refused(cluster: list[dict[str, object]]) -> None:
    cluster += [node("c", 1), node("a", 1), node("b", 1)]
    with pytest.raises(StudyError, match=r"2 CPU and 0 GPU a trial, and 3 nodes: a 1 CPU, b 1 CPU, c 1 CPU; the larg"):
        processes_that_fit(Budget(cpus_per_worker=2), alive_nodes())


def test_a_cluster_without_nodes_is_refused(cluster: list[dict[str, object]]) -> None:
    cluster += [node("head", 0)]
    with pytest.raises(StudyError, match=r"1 node: head 0 CPU.*--wait"):
        processes_that_fit(Budget(), alive_nodes())
    with pytest.raises(StudyError, match="and no node"):
        processes_that_fit(Budget(), alive_nodes({"id-head"}))


@pytest.mark.parametrize(
    ("share", "count"),
    [(0.25, 8), (1 / 3, 6), (0.4, 4), (0.5, 4), (0.75, 2), (1, 2), (2, 0)],
)
def test_a_share_of_a_gpu_is_of_one_gpu(cluster: list[dict[str, object]], share: float, count: int) -> None:
    cluster += [node("a", 16, 1), node("b", 16, 1), node("c", 16)]
    if count:
        assert processes_that_fit(Budget(gpus_per_worker=share), alive_nodes()) == count
    else:
        with pytest.raises(StudyError, match=r"a 16 CPU, 1 GPU"):
            processes_that_fit(Budget(gpus_per_worker=share), alive_nodes())


def test_cpus_limit_shares_of_gpus(cluster: list[dict[str, object]]) -> None:
    cluster += [node("a", 3, 1), node("b", 1, 4)]
    assert processes_that_fit(Budget(gpus_per_worker=0.25), alive_nodes()) == 3 + 1


@pytest.fixture
def autoscaler(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What an autoscaler was asked for, in order; time passes without being waited for."""
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr(room, "request_resources", lambda *, bundles: asked.append(bundles))
    monkeypatch.setattr(room, "_CHECK_INTERVAL_S", 0.0)
    return asked


def test_nodes_are_waited_for(
    cluster: list[dict[str, object]], autoscaler: list[list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster += [node("head", 0)]
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        cluster.append(node("a" if len(said) == 1 else "b", 1))

    monkeypatch.setattr(room, "_SAY_INTERVAL_S", 0.001)
    options = ClusterOptions(min_nodes=2, wait_s=60)
    wait_for_room(alive_nodes, lambda: processes_that_fit(Budget(), alive_nodes()), [{"CPU": 1.0}], options, say)
    assert len(said) == 2
    assert "got 0 of 1 node: head 0 CPU" in said[0]
    assert "got 1 of 2 nodes: a 1 CPU, head 0 CPU" in said[1]
    assert autoscaler == [[{"CPU": 1.0}] * 2, []], "what is asked for is taken back"


def test_waiting_has_an_end(cluster: list[dict[str, object]], autoscaler: list[list[dict[str, float]]]) -> None:
    cluster += [node("a", 1)]
    with pytest.raises(ClusterError, match="must have 2 nodes"):
        wait_for_room(alive_nodes, lambda: 1, [{"CPU": 1.0}], ClusterOptions(min_nodes=2, wait_s=0.05), print)
    with pytest.raises(StudyError, match="a trial must fit one node"):
        budget = Budget(cpus_per_worker=2)
        options = ClusterOptions(wait_s=0.05)
        wait_for_room(alive_nodes, lambda: processes_that_fit(budget, alive_nodes()), [{"CPU": 2.0}], options, print)
    assert autoscaler[-1] == []


def test_without_waiting_it_is_refused_at_once(
    cluster: list[dict[str, object]], autoscaler: list[list[dict[str, float]]]
) -> None:
    cluster += [node("a", 1)]
    with pytest.raises(ClusterError, match="must have 2 nodes"):
        wait_for_room(alive_nodes, lambda: 1, [{"CPU": 1.0}], ClusterOptions(min_nodes=2), print)
    wait_for_room(alive_nodes, lambda: 1, [{"CPU": 1.0}], ClusterOptions(min_nodes=1), print)
    assert autoscaler == []


def test_where_says_what_a_cluster_has(cluster: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster += [node("a", 4, 2), node("b", 4, 2), node("c", 4)]

    class Context:
        gcs_address = "10.0.0.1:6379"

    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray, "__version__", "2.60.0")
    assert where() == "Ray 2.60 at 10.0.0.1: 3 nodes, 12 CPU, 4 GPU"
    assert where({"id-a", "id-b"}) == "Ray 2.60 at 10.0.0.1: 1 node, 4 CPU"


@pytest.fixture
def one_core_of_many(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of this machine, started by a process that was allotted one core."""
    from supercm_ray.runtime import cluster as starting

    monkeypatch.setattr(starting, "cores_allotted", lambda: 1)
    with starting.ray_session():
        yield


def test_ray_takes_the_allotted_cores(one_core_of_many: None) -> None:
    assert ray.cluster_resources()["CPU"] == 1
    assert where().startswith("this machine alone, 1 of ")
    (found,) = alive_nodes()
    assert (found.cpus, found.address, str(found)) == (1.0, "127.0.0.1", f"{found.name} 1 CPU")
    assert nodes.is_this_machine_alone()
