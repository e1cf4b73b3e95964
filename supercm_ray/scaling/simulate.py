"""Step time at counts that are not at hand, from measured compute time and a stated network. Never a measurement.

An all-reduce of M bytes among N workers over links of bandwidth W bytes a second and latency L seconds, as a ring
(Patarasuk and Yuan 2009): 2 (N - 1) / N * M / W + 2 (N - 1) L. Hierarchical: a ring within each node scatters the sums,
rings among the nodes add up a part for each worker of a node, all of M over the node's one link, and the first kind of
ring gathers them again. A step with several collectives pays the latency for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reduction = Literal["ring", "hierarchical"]


@dataclass(frozen=True)
class Network:
    """What is assumed of the network.

    Attributes:
        bandwidth: bytes a second of a node's link to the others, which its workers share.
        latency_s: seconds of one message between nodes.
        workers_per_node: how many workers share a node.
        inner_bandwidth: bytes a second between workers of one node.
        inner_latency_s: seconds of one message within a node.
        overlap: share of the compute time during which the network works too, from 0 to 1.
    """

    bandwidth: float
    latency_s: float
    workers_per_node: int = 1
    inner_bandwidth: float = 100e9
    inner_latency_s: float = 5e-6
    overlap: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for what no network has."""
        if min(self.bandwidth, self.inner_bandwidth) <= 0 or min(self.latency_s, self.inner_latency_s) < 0:
            raise ValueError(f"bandwidths must be above 0 and latencies not below, got {self}")
        if self.workers_per_node < 1 or not 0 <= self.overlap <= 1:
            raise ValueError(f"a node has at least 1 worker and overlap is from 0 to 1, got {self}")


@dataclass(frozen=True)
class Simulated:
    """What a step is predicted to take at a count.

    Attributes:
        reduction: how gradients are assumed to be summed.
        compute_s: seconds of computing.
        communication_s: seconds of communication, of which `exposed_s` are not hidden behind computing.
        step_s: seconds of the whole step.
        measured_s: what the median step took, where this count was measured.
    """

    count: int
    reduction: Reduction
    compute_s: float
    communication_s: float
    exposed_s: float
    measured_s: float | None = None

    @property
    def step_s(self) -> float:
        """Computing and what of the communication it does not hide."""
        return self.compute_s + self.exposed_s


def all_reduce_s(
    num_bytes: float, count: int, network: Network, reduction: Reduction, *, num_collectives: int = 1
) -> float:
    """Seconds of so many all-reduces of so many bytes together.

    Raises:
        ValueError: where a hierarchy does not divide the workers evenly among nodes.
    """
    inner = min(count, network.workers_per_node)
    within = (network.inner_bandwidth, num_collectives * network.inner_latency_s)
    between = (network.bandwidth, num_collectives * network.latency_s)
    if reduction == "ring":
        return _ring_s(num_bytes, count, *(within if count == inner else between))
    if count % inner:
        raise ValueError(f"{count} workers must fill nodes of {inner} for a hierarchical all-reduce")
    return _ring_s(num_bytes, inner, *within) + _ring_s(num_bytes, count // inner, *between)


def simulate(
    count: int,
    compute_s: float,
    num_bytes: float,
    network: Network,
    reduction: Reduction,
    *,
    weak: bool,
    num_collectives: int = 1,
) -> Simulated:
    """A step at a count.

    Args:
        count: workers.
        compute_s: seconds that one worker computes in a step on the whole batch of one worker, as measured.
        num_bytes: that a step's collectives carry.
        network: as assumed.
        reduction: how the gradients are summed.
        weak: whether each worker keeps that batch, or shares it with the others evenly, without any loss.
        num_collectives: of a step.
    """
    own_s = compute_s if weak else compute_s / count
    communication_s = all_reduce_s(num_bytes, count, network, reduction, num_collectives=num_collectives)
    return Simulated(count, reduction, own_s, communication_s, max(0.0, communication_s - network.overlap * own_s))


def _ring_s(num_bytes: float, count: int, bandwidth: float, latency_s: float) -> float:
    return 2 * (count - 1) / count * num_bytes / bandwidth + 2 * (count - 1) * latency_s
