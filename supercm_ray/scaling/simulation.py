"""Simulates the steps that a study asks for, and those that it measured for comparison."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from supercm_ray.config import SimulationConfig
from supercm_ray.scaling.all_reduce import Collectives, Reduction, SimulatedStep, simulate_step
from supercm_ray.scaling.repetition import Repetition


@dataclass(frozen=True)
class Simulation:
    """The simulated steps and their assumptions.

    Attributes:
        config: the numbers of workers asked for, and the network.
        compute_s: seconds of a single worker's step on its whole batch.
        measured_alone: whether these were measured on one worker, not computed from the smallest number measured.
        collectives: the collectives of a step; a single one is assumed if no step on several workers was measured.
        steps: simulated steps by number of workers, measured numbers included.
        unfilled: numbers of workers that do not fill their nodes, for which no hierarchical all-reduce is simulated.
    """

    config: SimulationConfig
    compute_s: float
    measured_alone: bool
    collectives: Collectives
    steps: list[SimulatedStep]
    unfilled: list[int]


def simulation(config: SimulationConfig, groups: Mapping[int, Sequence[Repetition]], *, weak: bool) -> Simulation:
    """Simulates the numbers of workers that were asked for, and those above one that were measured.

    Args:
        config: the numbers of workers and the network.
        groups: the repetitions of each number of workers, at least one.
        weak: whether the batch of each worker is fixed.
    """
    measured = {count: statistics.median(_steps(group)) for count, group in groups.items() if count > 1}
    simulated = sorted({*config.num_workers, *measured})
    compute_s, collectives = _compute_s(groups, weak=weak), _collectives(groups)
    steps = [
        replace(simulate_step(count, compute_s, collectives, config, how, weak=weak), measured_s=measured.get(count))
        for count in simulated
        for how in _reductions(count, config)
    ]
    unfilled = [count for count in simulated if _unfilled(count, config)]
    return Simulation(config, compute_s, 1 in groups, collectives, steps, unfilled)


def _reductions(num_workers: int, config: SimulationConfig) -> Iterator[Reduction]:
    yield "ring"
    if 1 < config.workers_per_node < num_workers and not _unfilled(num_workers, config):
        yield "hierarchical"


def _unfilled(num_workers: int, config: SimulationConfig) -> bool:
    """Returns whether this number of workers needs several nodes and does not fill them."""
    return num_workers > config.workers_per_node and num_workers % config.workers_per_node > 0


def _collectives(groups: Mapping[int, Sequence[Repetition]]) -> Collectives:
    several = [one for count, group in groups.items() if count > 1 for one in group]
    num_bytes = max(one.collective_bytes or one.gradient_bytes for one in several or groups[1])
    return Collectives(num_bytes, max([one.num_collectives for one in several if one.num_collectives], default=1))


def _compute_s(groups: Mapping[int, Sequence[Repetition]], *, weak: bool) -> float:
    """Returns one worker's step time as measured, or computed from the smallest number of workers without
    communication.
    """
    if 1 in groups:
        return statistics.median(_steps(groups[1]))
    fewest = min(groups)
    own_s = statistics.median(one.compute_s + one.data_s for one in groups[fewest])
    return own_s if weak else own_s * fewest


def _steps(group: Sequence[Repetition]) -> list[float]:
    return [step_s for one in group for step_s in one.step_s]
