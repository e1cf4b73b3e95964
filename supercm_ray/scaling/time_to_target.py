"""Time to a target accuracy over several runs, some of which never reach it.

A run that ended its whole budget below the target, or diverged, would not have reached it later: it is neither dropped
nor extrapolated, but counts with an infinite time in the median over all runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One run to the target.

    Attributes:
        spent: seconds, or samples, until the target was first reached, or until the run ended below it.
        reached: whether it was reached.
    """

    spent: float
    reached: bool


@dataclass(frozen=True)
class TimeToTarget:
    """The time, or samples, to the target over several runs.

    Attributes:
        median: when half of the runs had reached it (the lower one of two in the middle); None if fewer did.
        num_runs: number of runs.
        num_censored: number of runs that never reached the target.
    """

    median: float | None
    num_runs: int
    num_censored: int

    @property
    def num_reached(self) -> int:
        """Number of runs that reached the target."""
        return self.num_runs - self.num_censored


def time_to_target(attempts: Sequence[Attempt]) -> TimeToTarget:
    """Computes the median over all runs; those that never reached the target count as later than all others.

    Raises:
        ValueError: without any run.
    """
    if not attempts:
        raise ValueError("at least one run is needed, got none")
    median = statistics.median_low([one.spent if one.reached else math.inf for one in attempts])
    num_censored = sum(not one.reached for one in attempts)
    return TimeToTarget(median if math.isfinite(median) else None, len(attempts), num_censored)


def target_sentence(seconds: TimeToTarget, samples: TimeToTarget) -> str:
    """States how many runs reached the target, and when."""
    if not seconds.num_reached:
        return f"none of {seconds.num_runs} runs reached it"
    text = f"{seconds.num_reached} of {seconds.num_runs} runs reached it"
    text += f", {seconds.num_censored} never did" if seconds.num_censored else ""
    if seconds.median is None or samples.median is None:
        return f"{text}; there is no median, for fewer than half did"
    return f"{text}; median {seconds.median:.4g} s and {samples.median:.0f} samples"
