"""How many runs fit the cluster at once, counted node by node, since a process runs on one node; and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from ray.autoscaler.sdk import request_resources

from supercm_ray.config import Budget, ClusterOptions
from supercm_ray.errors import ClusterError, StudyError
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.runtime.nodes import Node

_EPSILON = 1e-6
_CHECK_INTERVAL_S = 1.0
_SAY_INTERVAL_S = 30.0


def processes_that_fit(budget: Budget, nodes: Collection[Node]) -> int:
    """Returns the number of single-process trials that fit these nodes at once, if nothing else runs.

    Args:
        budget: what each needs.
        nodes: the nodes.

    Raises:
        StudyError: if not even one fits, instead of waiting for ever.
    """
    room = sum(_processes_on(node, budget) for node in nodes)
    if room < 1:
        raise StudyError(
            "a trial must fit one node for budget.cpus_per_worker and budget.gpus_per_worker, got "
            f"{budget.cpus_per_worker} CPU and {budget.gpus_per_worker:g} GPU a trial, and {arithmetic(nodes)}; lower "
            "them, add nodes, or wait for them with --wait SECONDS"
        )
    return room


def _processes_on(node: Node, budget: Budget) -> int:
    room = _times(node.cpus, budget.cpus_per_worker)
    share = budget.gpus_per_worker
    if not share:
        return room
    by_gpu = int(node.gpus) * _times(1, share) if share <= 1 else _times(node.gpus, share)
    return min(room, by_gpu)


def workers_that_fit(resources: dict[str, float], nodes: Collection[Node]) -> int:
    """Returns the number of workers with these resources each that fit these nodes at once, if nothing else runs."""
    return sum(min(_times(node.resources.get(name, 0.0), need) for name, need in resources.items()) for node in nodes)


def arithmetic(nodes: Collection[Node]) -> str:
    """Returns what each node has, and what the largest has."""
    if not nodes:
        return "no node"
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
    return f"{count}: {', '.join(map(str, nodes))}; the largest is {largest.name}"


def wait_for_room(
    nodes: Callable[[], Collection[Node]],
    check: Callable[[], object],
    bundles: list[dict[str, float]],
    options: ClusterOptions,
    say: Callable[[str], None],
) -> None:
    """Waits until the cluster has room, and as many nodes as are asked for; returns at once if it does. Meanwhile an
    autoscaler, if there is one, is asked for nodes.

    Args:
        nodes: returns the nodes that are used.
        check: counts the room; raises StudyError if not one run fits.
        bundles: what the processes of one run need, by Ray's names.
        options: how many nodes to wait for, and how long.
        say: called with what is waited for, at once and then every 30 s.

    Raises:
        StudyError: if there is no room for one run in time.
        ClusterError: if there are too few nodes in time.
    """
    lacking = _lacking(nodes(), check, options)
    if lacking is not None and options.wait_s > 0:
        wanted = bundles + [bundles[-1]] * (options.min_nodes - len(bundles))
        with _asked_for(wanted):
            lacking = _wait(lambda: _lacking(nodes(), check, options), options.wait_s, say)
    if lacking is not None:
        raise lacking


def _lacking(
    nodes: Collection[Node], check: Callable[[], object], options: ClusterOptions
) -> ClusterError | StudyError | None:
    """Returns the error that says what the cluster lacks, or None."""
    num_nodes = sum(node.cpus > 0 for node in nodes)
    if num_nodes < options.min_nodes:
        return ClusterError(
            f"the cluster must have {options.min_nodes} nodes with CPUs for --min-nodes, got {num_nodes} of "
            f"{arithmetic(nodes)}; add nodes, ask for fewer, or wait for them with --wait SECONDS"
        )
    try:
        check()
    except StudyError as error:
        return error
    return None


def _wait(
    lacking: Callable[[], ClusterError | StudyError | None], wait_s: float, say: Callable[[str], None]
) -> ClusterError | StudyError | None:
    """Asks again and again what is lacking, and returns the last answer."""
    began, said = time.monotonic(), 0
    while (error := lacking()) is not None and (waited := time.monotonic() - began) < wait_s:
        if waited >= said * _SAY_INTERVAL_S:
            said += 1
            say(f"waiting for room, {waited:.0f} of {wait_s:g} s: {error}")
        check_interrupt()
        time.sleep(_CHECK_INTERVAL_S)
    return error


@contextmanager
def _asked_for(bundles: list[dict[str, float]]) -> Iterator[None]:
    """Has an autoscaler make room for these within the block; the request would outlive this process."""
    request_resources(bundles=bundles)
    try:
        yield
    finally:
        request_resources(bundles=[])


def _times(have: float, need: float) -> int:
    """Returns how often a need fits; a third of a GPU does three times."""
    return int(have / need + _EPSILON)
