"""Watching a cluster while a study runs on it: its nodes, and whether its head still answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from supercm_ray.execution.interruption import preemption, request, seconds_to_close
from supercm_ray.records import SessionNode
from supercm_ray.runtime.nodes import Node

logger = logging.getLogger(__name__)

Check = Callable[[Sequence[Node], threading.Event], Mapping[str, str]]

LOST_S = 25.0
"""Seconds without an answer after which a cluster's head counts as lost. Ray ends the process itself after 60."""
_INTERVAL_S = 1.0
_SILENT_S, _END_TIMEOUT_S = 5.0, 60.0  # a head that is lost may not answer for longer


class ClusterWatch:
    """Reads the nodes of a cluster once a second, in a thread, since a head that is lost keeps its caller waiting.

    Nodes that come are checked before they are used, and those that are drained are used no more. When the head is lost
    or this process's own node is drained, the command is ended as pre-empted.
    """

    def __init__(
        self,
        read_nodes: Callable[[], Sequence[Node]],
        read_draining: Callable[[], Collection[str]],
        check: Check,
        on_nodes: Callable[[tuple[SessionNode, ...]], None],
        *,
        unfit: Mapping[str, str],
        own_node: str = "",
        lost_s: float = LOST_S,
    ) -> None:
        """Reads the nodes once, in the calling thread.

        Args:
            read_nodes: asks the cluster for its nodes that are alive.
            read_draining: asks for the ids of those that will be taken away.
            check: returns the reason for each of these nodes that is not to be used, by its id; it comes to its end
                once the event is set.
            on_nodes: called with all nodes ever seen whenever one comes, goes, or has been checked.
            unfit: the reason for each node that is known not to be fit, by its id.
            own_node: id of the node of this process.
            lost_s: seconds without an answer after which its head counts as lost.
        """
        self._read_nodes, self._read_draining, self._check = read_nodes, read_draining, check
        self._on_nodes, self._own_node, self._lost_s = on_nodes, own_node, lost_s
        self._unfit = dict(unfit)
        self._draining: frozenset[str] = frozenset()
        self._alive = {node.id: node for node in read_nodes()}
        self._seen, self._checked = dict(self._alive), set(self._alive)
        self._answered_at, self._ended = time.monotonic(), threading.Event()
        self._threads: list[threading.Thread] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reads the nodes again and again within the block, and no more after it, when Ray may be gone: asked then, it
        ends the process.
        """
        self._start(self._listen)
        self._start(self._follow)
        try:
            yield
        finally:
            self._ended.set()
            self._wait_for_threads()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=work, args=args, name="cluster", daemon=True))
        self._threads[-1].start()

    def _wait_for_threads(self) -> None:
        """Waits for the end of all threads, those that check newcomers too, but not long for a head that is silent, nor
        after an interruption.
        """
        is_silent = time.monotonic() - self._answered_at > _SILENT_S
        until = time.monotonic() + min(_SILENT_S if is_silent else _END_TIMEOUT_S, seconds_to_close())
        for thread in self._threads:  # to which one that is ending may still add
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def left_out(self) -> frozenset[str]:
        """Ids of nodes that are not to be used: those that are not fit, not checked yet, or drained."""
        return self._draining | self._unfit.keys() | (self._alive.keys() - self._checked)

    @property
    def nodes(self) -> list[Node]:
        """The nodes that were alive when the cluster answered last, and are to be used."""
        left_out = self.left_out
        return [node for node in self._alive.values() if node.id not in left_out]

    def described(self) -> tuple[SessionNode, ...]:
        """Returns every node seen so far and what has become of it."""
        return tuple(self._described(node) for node in self._seen.values())

    def _described(self, node: Node) -> SessionNode:
        found = SessionNode(node.name, node.address, node.cpus, node.gpus)
        if node.id not in self._alive:
            return replace(found, state="gone")
        reason = "it is being drained" if node.id in self._draining else self._unfit.get(node.id)
        return found if reason is None else replace(found, state="left out", reason=reason)

    def _follow(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            try:
                alive = {node.id: node for node in self._read_nodes()}
                draining = frozenset(alive.keys() & self._read_draining())
            except Exception:  # noqa: S112 (of any kind: what counts is that no answer comes)
                continue
            self._answered_at = time.monotonic()
            if self._own_node in draining:
                request(preemption("Ray's notice that its node will be taken away"))
            if (alive.keys(), draining) != (self._alive.keys(), self._draining):
                self._draining = draining
                self._note(alive)

    def _note(self, alive: dict[str, Node]) -> None:
        come = [node for node in alive.values() if node.id not in self._seen]
        for node in self._alive.keys() - alive.keys():
            logger.warning("node %s is gone", self._seen[node].name)
        self._alive, self._seen = alive, {**self._seen, **alive}
        if come:  # which may take as long as a node may take to answer
            self._start(self._take_in, come)
        self._on_nodes(self.described())

    def _take_in(self, come: Sequence[Node]) -> None:
        try:
            self._unfit |= self._check(come, self._ended)
        except Exception as error:  # it is tried no more, and the study goes on without them
            self._unfit |= {node.id: f"it could not be checked: {error}" for node in come}
        self._checked |= {node.id for node in come}
        for node in come:
            if node.id not in self._unfit:
                logger.warning("node %s has come and is used", node)
        self._on_nodes(self.described())

    def _listen(self) -> None:
        """Ends the command once the head has been silent for too long."""
        while not self._ended.wait(_INTERVAL_S):
            silent_s = time.monotonic() - self._answered_at
            if silent_s > self._lost_s:
                request(preemption(f"the loss of the Ray cluster, whose head has been silent for {silent_s:.0f} s"))
                return
