"""Step time at counts that are not at hand, from measured compute time and a stated network. Never a measurement.

An all-reduce of M bytes among N workers over links of bandwidth W bytes a second and latency L seconds, as a ring
(Patarasuk and Yuan 2009): 2 (N - 1) / N * M / W + 2 (N - 1) L. Hierarchical: a ring within each node scatters the sums,
one among the nodes adds up each worker's part, and the first kind of ring gathers them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reduction = Literal["ring", "hierarchical"]


@dataclass(frozen=True)
class Network:
    """What is assumed of the network.

    Attributes:
        bandwidth: bytes a second of a worker's link to another node.
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
    """

    count: int
    reduction: Reduction
    compute_s: float
    communication_s: float
    exposed_s: float

    @property
    def step_s(self) -> float:
        """Computing and what of the communication it does not hide."""
        return self.compute_s + self.exposed_s


def all_reduce_s(num_bytes: float, count: int, network: Network, reduction: Reduction) -> float:
    """Seconds of one all-reduce of so many bytes.

    Raises:
        ValueError: where a hierarchy does not divide the workers evenly among nodes.
    """
    if reduction == "ring":
        within = count <= network.workers_per_node
        bandwidth = network.inner_bandwidth if within else network.bandwidth
        return _ring_s(num_bytes, count, bandwidth, network.inner_latency_s if within else network.latency_s)
    inner = min(count, network.workers_per_node)
    if count % inner:
        raise ValueError(f"{count} workers must fill nodes of {inner} for a hierarchical all-reduce")
    within_s = _ring_s(num_bytes, inner, network.inner_bandwidth, network.inner_latency_s)
    return within_s + _ring_s(num_bytes / inner, count // inner, network.bandwidth, network.latency_s)


def simulate(
    count: int, compute_s: float, num_bytes: float, network: Network, reduction: Reduction, *, weak: bool
) -> Simulated:
    """A step at a count.

    Args:
        count: workers.
        compute_s: seconds that one worker computes in a step on the whole batch of one worker, as measured.
        num_bytes: of the gradients.
        network: as assumed.
        reduction: how the gradients are summed.
        weak: whether each worker keeps that batch, or shares it with the others evenly, without any loss.
    """
    own_s = compute_s if weak else compute_s / count
    communication_s = all_reduce_s(num_bytes, count, network, reduction)
    return Simulated(count, reduction, own_s, communication_s, max(0.0, communication_s - network.overlap * own_s))


def _ring_s(num_bytes: float, count: int, bandwidth: float, latency_s: float) -> float:
    return 2 * (count - 1) / count * num_bytes / bandwidth + 2 * (count - 1) * latency_s
