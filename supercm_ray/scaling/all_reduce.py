"""Predicts the time of an all-reduce, and of a step with it, on an assumed network. Nothing here is measured.

An all-reduce of M bytes among N workers over links of bandwidth W bytes per second and latency L seconds, as a ring
(Patarasuk and Yuan 2009), takes 2 (N - 1) / N * M / W + 2 (N - 1) L. Hierarchical: a ring within each node scatters the
sums, rings among the nodes add up a part for each worker of a node, all of M over the node's one link, and the first
kind of ring gathers them again. A step with several collectives has the latency of each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from supercm_ray.config import Network

Reduction: TypeAlias = Literal["ring", "hierarchical"]


@dataclass(frozen=True)
class Collectives:
    """The collectives of a step.

    Attributes:
        num_bytes: bytes that they carry together.
        number: number of collectives.
    """

    num_bytes: float
    number: int = 1


@dataclass(frozen=True)
class SimulatedStep:
    """The predicted time of a step at some number of workers.

    Attributes:
        reduction: how gradients are assumed to be summed.
        compute_s: seconds of computing.
        communication_s: seconds of communication.
        exposed_s: seconds of the communication that do not overlap with computing.
        measured_s: seconds of the median step, if this number of workers was measured.
    """

    num_workers: int
    reduction: Reduction
    compute_s: float
    communication_s: float
    exposed_s: float
    measured_s: float | None = None

    @property
    def step_s(self) -> float:
        """Seconds of the whole step."""
        return self.compute_s + self.exposed_s


def all_reduce_s(collectives: Collectives, num_workers: int, network: Network, reduction: Reduction) -> float:
    """Returns the seconds that a step's all-reduces take together.

    Raises:
        ValueError: if a hierarchy does not divide the workers evenly among nodes.
    """
    inner = min(num_workers, network.workers_per_node)
    within = (network.inner_bandwidth, collectives.number * network.inner_latency_s)
    between = (network.bandwidth, collectives.number * network.latency_s)
    if reduction == "ring":
        return _ring_s(collectives.num_bytes, num_workers, *(within if num_workers == inner else between))
    if num_workers % inner:
        raise ValueError(f"{num_workers} workers must fill nodes of {inner} for a hierarchical all-reduce")
    among_nodes = _ring_s(collectives.num_bytes, num_workers // inner, *between)
    return _ring_s(collectives.num_bytes, inner, *within) + among_nodes


def simulate_step(
    num_workers: int,
    compute_s: float,
    collectives: Collectives,
    network: Network,
    reduction: Reduction,
    *,
    weak: bool,
) -> SimulatedStep:
    """Predicts a step at some number of workers.

    Args:
        num_workers: number of workers.
        compute_s: seconds that a single worker computes in a step on its whole batch.
        collectives: the step's collectives.
        network: the assumed network.
        reduction: how the gradients are summed.
        weak: whether each worker keeps that batch; otherwise the workers divide it evenly, without any loss.
    """
    own_s = compute_s if weak else compute_s / num_workers
    communication_s = all_reduce_s(collectives, num_workers, network, reduction)
    exposed_s = max(0.0, communication_s - network.overlap * own_s)
    return SimulatedStep(num_workers, reduction, own_s, communication_s, exposed_s)


def _ring_s(num_bytes: float, num_workers: int, bandwidth: float, latency_s: float) -> float:
    return 2 * (num_workers - 1) / num_workers * num_bytes / bandwidth + 2 * (num_workers - 1) * latency_s
