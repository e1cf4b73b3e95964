"""What a study notices of its cluster: nodes that come and go, and a head that answers no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import pytest

from supercm_ray.errors import PreemptedError
from supercm_ray.execution.interruption import interruptible
from supercm_ray.records import SessionNode
from supercm_ray.runtime.cluster_watch import ClusterWatch
from supercm_ray.runtime.nodes import Node

A, B, C = (Node(name * 8, name, f"10.0.0.{i}", 2.0, 0.0) for i, name in enumerate("abc"))


class Cluster:
    """A cluster whose nodes a test changes, and what was told of it."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes, self.told, self.may_check = list(nodes), threading.Condition(), threading.Event()
        self.is_checking = threading.Event()
        self.states: list[dict[str, str]] = []
        self.draining: list[str] = []
        self.may_check.set()

    def read(self) -> Sequence[Node]:
        if not self.nodes:
            raise ConnectionError
        return list(self.nodes)

    def check(self, nodes: Sequence[Node], ended: threading.Event) -> Mapping[str, str]:
        self.is_checking.set()
        while not self.may_check.wait(0.05) and not ended.is_set():
            pass
        self.is_checking.clear()
        return {node.id: "no package there" for node in nodes if node is C}

    def on_nodes(self, nodes: tuple[SessionNode, ...]) -> None:
        with self.told:
            self.states.append({node.name: node.state for node in nodes})
            self.told.notify_all()

    def wait_for(self, state: dict[str, str]) -> None:
        with self.told:
            assert self.told.wait_for(lambda: state in self.states, timeout=60), self.states

    def watched(self, **more: float) -> ClusterWatch:
        return ClusterWatch(
            self.read, lambda: self.draining, self.check, self.on_nodes, unfit={}, own_node=A.id, **more
        )


def test_nodes_that_come_and_go_are_noticed() -> None:
    cluster = Cluster(A)
    watch = cluster.watched()
    assert watch.nodes == [A]
    with watch.watching():
        cluster.nodes.append(B)
        cluster.wait_for({"a": "in use", "b": "in use"})
        cluster.nodes.remove(A)
        cluster.wait_for({"a": "gone", "b": "in use"})
        assert watch.nodes == [B]
        assert watch.left_out == frozenset()


def test_no_check_outlives_the_watch() -> None:
    """Which would ask Ray when it is gone."""
    cluster = Cluster(A)
    cluster.may_check.clear()
    with cluster.watched().watching():
        cluster.nodes.append(B)
        assert cluster.is_checking.wait(60)
    assert not cluster.is_checking.is_set()


def test_a_node_is_used_once_it_was_checked() -> None:
    cluster = Cluster(A)
    cluster.may_check.clear()
    watch = cluster.watched()
    with watch.watching():
        cluster.nodes.append(B)
        cluster.wait_for({"a": "in use", "b": "in use"})
        assert watch.nodes == [A]
        assert watch.left_out == {B.id}
        num_told = len(cluster.states)
        cluster.may_check.set()
        with cluster.told:
            assert cluster.told.wait_for(lambda: len(cluster.states) > num_told, timeout=60)
        assert watch.nodes == [A, B]


def test_a_node_that_is_not_fit_stays_out() -> None:
    cluster = Cluster(A)
    watch = cluster.watched()
    with watch.watching():
        cluster.nodes.append(C)
        cluster.wait_for({"a": "in use", "c": "left out"})
        assert watch.nodes == [A]
        assert watch.left_out == {C.id}
        assert [node.reason for node in watch.described()] == ["", "no package there"]


def test_a_node_that_cannot_be_checked_stays_out() -> None:
    cluster = Cluster(A)

    def fails(nodes: Sequence[Node], ended: threading.Event) -> Mapping[str, str]:
        raise ConnectionError("no answer")

    watch = ClusterWatch(cluster.read, list, fails, cluster.on_nodes, unfit={})
    with watch.watching():
        cluster.nodes.append(B)
        cluster.wait_for({"a": "in use", "b": "left out"})
    assert watch.described()[1].reason == "it could not be checked: no answer"


def test_a_silent_head_ends_the_command_as_preempted(no_ray: None) -> None:
    cluster = Cluster(A)
    wait: Callable[[], bool] = threading.Event().wait
    with pytest.raises(PreemptedError, match="whose head has been silent"), interruptible():
        with cluster.watched(lost_s=0.0).watching():
            cluster.nodes.clear()
            wait()


def test_nothing_is_read_after_the_end() -> None:
    reading, may_answer, answered = threading.Event(), threading.Event(), threading.Event()

    def read() -> Sequence[Node]:
        if threading.current_thread().name == "cluster":
            reading.set()
            may_answer.wait()
            answered.set()
        return [A]

    watch = ClusterWatch(read, list, lambda nodes: {}, lambda nodes: None, unfit={})
    with watch.watching():
        assert reading.wait(60)
        threading.Timer(0.5, may_answer.set).start()
    assert answered.is_set()


def test_a_drained_node_gets_no_more_runs() -> None:
    cluster = Cluster(A, B)
    watch = cluster.watched()
    with watch.watching():
        cluster.draining.append(B.id)
        cluster.wait_for({"a": "in use", "b": "left out"})
        assert watch.nodes == [A]
        assert watch.left_out == {B.id}


def test_a_drained_own_node_preempts_the_command(no_ray: None) -> None:
    cluster = Cluster(A, B)
    wait: Callable[[], bool] = threading.Event().wait
    with pytest.raises(PreemptedError, match="notice that its node will be taken away"), interruptible():
        with cluster.watched().watching():
            cluster.draining.append(A.id)
            wait()
