"""The steps that a study was asked to simulate, and those that it measured, so that both stand side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from supercm_ray.scaling.raw import Repetition, SimulationRequest
from supercm_ray.scaling.simulate import Network, Reduction, Simulated, simulate


@dataclass(frozen=True)
class Simulation:
    """What was simulated, and all that was assumed.

    Attributes:
        request: the network.
        compute_s: seconds of one worker's step on the batch of one worker.
        measured_alone: whether those were measured on one worker, or follow from the least count that was.
        num_bytes: that the collectives of a step carry.
        num_collectives: of a step; 1 is assumed where no step on several workers was measured.
        steps: by count, those that were measured too among them.
        unfilled: counts that do not fill their nodes, for which no hierarchical all-reduce is simulated.
    """

    request: SimulationRequest
    compute_s: float
    measured_alone: bool
    num_bytes: int
    num_collectives: int
    steps: list[Simulated]
    unfilled: list[int]


def simulation(request: SimulationRequest, groups: Mapping[int, Sequence[Repetition]], *, weak: bool) -> Simulation:
    """Simulates the counts that were asked for, and those above one that were measured.

    Args:
        request: what was asked for.
        groups: the repetitions of each count, at least one.
        weak: whether the batch of each worker is fixed.
    """
    several = [one for count, group in groups.items() if count > 1 for one in group]
    num_bytes = max(one.collective_bytes or one.gradient_bytes for one in several or groups[1])
    num_collectives = max([one.num_collectives for one in several if one.num_collectives], default=1)
    measured = {count: statistics.median(_steps(group)) for count, group in groups.items() if count > 1}
    counts = sorted({*request.counts, *measured})
    bare = Simulation(request, _compute_s(groups, weak=weak), 1 in groups, num_bytes, num_collectives, [], [])
    steps = [
        replace(one, measured_s=measured.get(count)) for count in counts for one in _steps_at(bare, count, weak=weak)
    ]
    return replace(bare, steps=steps, unfilled=[count for count in counts if _unfilled(count, request)])


def _steps_at(bare: Simulation, count: int, *, weak: bool) -> Iterator[Simulated]:
    request = bare.request
    network = Network(**request.model_dump(exclude={"counts"}))
    reductions: list[Reduction] = ["ring"]
    if 1 < request.workers_per_node < count and not _unfilled(count, request):
        reductions.append("hierarchical")
    for reduction in reductions:
        yield simulate(
            count,
            bare.compute_s,
            bare.num_bytes,
            network,
            reduction,
            weak=weak,
            num_collectives=bare.num_collectives,
        )


def _unfilled(count: int, request: SimulationRequest) -> bool:
    """Whether so many workers need several nodes and do not fill them."""
    return count > request.workers_per_node and count % request.workers_per_node > 0


def _compute_s(groups: Mapping[int, Sequence[Repetition]], *, weak: bool) -> float:
    """One worker's step, as measured, or from what the least count computes without its communication."""
    if 1 in groups:
        return statistics.median(_steps(groups[1]))
    least = min(groups)
    own_s = statistics.median(one.compute_s + one.data_s for one in groups[least])
    return own_s if weak else own_s * least


def _steps(group: Sequence[Repetition]) -> list[float]:
    return [step_s for one in group for step_s in one.step_s]
