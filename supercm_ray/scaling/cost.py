"""What each count costs, and which to choose."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EFFICIENCY_FLOOR = 0.7
"""Share of the ideal throughput below which a count is not recommended for its speed."""


@dataclass(frozen=True)
class Cost:
    """One count.

    Attributes:
        throughput: rows a second, the median over repetitions.
        speedup: against one worker, by throughput.
        efficiency: speed-up divided by count.
        hours: of the whole job by the clock, start-up with it.
        gpu_hours: hours times workers.
        money: by the price, None without one.
    """

    count: int
    throughput: float
    speedup: float
    efficiency: float
    hours: float
    gpu_hours: float
    money: float | None


@dataclass(frozen=True)
class Choice:
    """What to choose.

    Attributes:
        cheapest: the count of the fewest GPU hours, the faster one of equals.
        fastest: the count of the least time among those at or above the efficiency floor.
        floor: that efficiency floor.
        sentence: which to choose and why, in words.
    """

    cheapest: int
    fastest: int
    floor: float
    sentence: str


def costs(
    throughputs: Mapping[int, Sequence[float]],
    *,
    job_rows: float,
    startup_s: Mapping[int, float] | None = None,
    price: float | None = None,
) -> list[Cost]:
    """Speed-up and cost of each count.

    Args:
        throughputs: rows a second of each repetition by count; the least count is what the others are compared with,
            as if it scaled without loss where it is not 1.
        job_rows: rows of the whole job.
        startup_s: seconds until the first step, by count.
        price: of one GPU for one hour.
    """
    medians = {count: statistics.median(values) for count, values in sorted(throughputs.items())}
    least = min(medians)
    alone = medians[least] / least
    found = []
    for count, throughput in medians.items():
        hours = (job_rows / throughput + (startup_s or {}).get(count, 0.0)) / 3600
        speedup = throughput / alone
        money = None if price is None else hours * count * price
        found.append(Cost(count, throughput, speedup, speedup / count, hours, hours * count, money))
    return found


def choose(rows: Sequence[Cost], *, floor: float = EFFICIENCY_FLOOR) -> Choice:
    """The count to choose by cost, by time, and in words.

    Raises:
        ValueError: without any count.
    """
    if not rows:
        raise ValueError("at least one count is needed, got none")
    cheapest = min(rows, key=lambda row: (row.gpu_hours, row.hours))
    allowed = [row for row in rows if row.efficiency >= floor] or [cheapest]
    fastest = min(allowed, key=lambda row: (row.hours, row.gpu_hours))
    return Choice(cheapest.count, fastest.count, floor, _sentence(rows, cheapest, fastest, floor))


def _sentence(rows: Sequence[Cost], cheapest: Cost, fastest: Cost, floor: float) -> str:
    quickest = min(rows, key=lambda row: row.hours)
    verb = "costs" if cheapest.count == 1 else "cost"
    if fastest.count == cheapest.count:
        text = f"Take {_workers(cheapest.count)}: no other count at an efficiency of {floor:.0%} or more ends sooner"
        text += ", and none costs less." if len(rows) > 1 else ", for no other was measured."
    else:
        text = (
            f"Take {_workers(fastest.count)} for the least time at an efficiency of {floor:.0%} or more: "
            f"{cheapest.hours / fastest.hours:.2f} times as fast as {_workers(cheapest.count)} for "
            f"{fastest.gpu_hours / cheapest.gpu_hours:.2f} times the cost. {_workers(cheapest.count)} {verb} least."
        )
    if quickest.count not in (fastest.count, cheapest.count):
        text += f" {_workers(quickest.count)} end soonest of all, at an efficiency of {quickest.efficiency:.0%}."
    return text


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
