"""The cost of each number of workers, and the choice among them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The speedup and the cost of one number of workers.

    Attributes:
        throughput: samples per second, the median over repetitions.
        speedup: throughput divided by that of one worker.
        efficiency: speedup divided by the number of workers.
        hours: duration of the whole job in hours, start-up included.
        gpu_hours: hours times workers.
        money: price of these GPU hours, None without a price.
    """

    num_workers: int
    throughput: float
    speedup: float
    efficiency: float
    hours: float
    gpu_hours: float
    money: float | None


@dataclass(frozen=True)
class Choice:
    """The number of workers to choose.

    Attributes:
        cheapest: the one with the fewest GPU hours, the faster one of equals.
        fastest: the one with the least time among those at or above the efficiency floor.
        floor: the efficiency floor.
        sentence: the choice and its reason.
    """

    cheapest: int
    fastest: int
    floor: float
    sentence: str


def costs(
    throughputs: Mapping[int, Sequence[float]],
    *,
    job_samples: float,
    startup_s: Mapping[int, float] | None = None,
    price_per_gpu_hour: float | None = None,
) -> list[Cost]:
    """Computes the speedup and the cost of each number of workers.

    Args:
        throughputs: samples per second of each repetition, by number of workers. The smallest number is what the others
            are compared with; where it is not 1, it is taken to scale without loss.
        job_samples: samples on which the whole job trains.
        startup_s: seconds until the first step, by number of workers.
        price_per_gpu_hour: price of one GPU for one hour.
    """
    medians = {num_workers: statistics.median(values) for num_workers, values in sorted(throughputs.items())}
    fewest = min(medians)
    alone = medians[fewest] / fewest
    found = []
    for num_workers, throughput in medians.items():
        hours = (job_samples / throughput + (startup_s or {}).get(num_workers, 0.0)) / 3600
        speedup, gpu_hours = throughput / alone, hours * num_workers
        money = None if price_per_gpu_hour is None else gpu_hours * price_per_gpu_hour
        found.append(Cost(num_workers, throughput, speedup, speedup / num_workers, hours, gpu_hours, money))
    return found


def choose(found: Sequence[Cost], *, floor: float) -> Choice:
    """Chooses the number of workers by cost, by time, and in words.

    Raises:
        ValueError: if there is none to choose from.
    """
    if not found:
        raise ValueError("at least one number of workers is needed, got none")
    cheapest = min(found, key=lambda cost: (cost.gpu_hours, cost.hours))
    allowed = [cost for cost in found if cost.efficiency >= floor] or [cheapest]
    fastest = min(allowed, key=lambda cost: (cost.hours, cost.gpu_hours))
    return Choice(cheapest.num_workers, fastest.num_workers, floor, _sentence(found, cheapest, fastest, floor))


def workers_text(num_workers: int) -> str:
    """Returns a number of workers in words."""
    return "1 worker" if num_workers == 1 else f"{num_workers} workers"


def _sentence(found: Sequence[Cost], cheapest: Cost, fastest: Cost, floor: float) -> str:
    cheap, fast = workers_text(cheapest.num_workers), workers_text(fastest.num_workers)
    quickest = min(found, key=lambda cost: cost.hours)
    if fastest is cheapest:
        text = f"Take {cheap}: no other number of workers at an efficiency of {floor:.0%} or more ends sooner"
        text += ", and none costs less." if len(found) > 1 else ", for no other was measured."
    else:
        text = (
            f"Take {fast} for the least time at an efficiency of {floor:.0%} or more: "
            f"{cheapest.hours / fastest.hours:.2f} times as fast as {cheap} for "
            f"{fastest.gpu_hours / cheapest.gpu_hours:.2f} times the cost. "
            f"{cheap} {'costs' if cheapest.num_workers == 1 else 'cost'} least."
        )
    if quickest not in (fastest, cheapest):
        text += f" {workers_text(quickest.num_workers)} end soonest of all, at an efficiency of "
        text += f"{quickest.efficiency:.0%}."
    return text
