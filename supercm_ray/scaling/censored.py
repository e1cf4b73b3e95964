"""Time to a target over several runs, of which some never reach it: those are censored, neither dropped nor guessed.

Kaplan and Meier 1958: the share of runs still short of the target falls at each time at which one reaches it, by the
part of those that were still under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One run towards the target.

    Attributes:
        spent: seconds, or rows, until the target was first reached, or until the run ended short of it.
        reached: whether it was.
    """

    spent: float
    reached: bool


@dataclass(frozen=True)
class TimeToTarget:
    """What several runs say of the time, or rows, to the target.

    Attributes:
        median: when half of the runs had reached it by Kaplan and Meier; None where fewer than half ever do.
        restricted_mean: mean of what was spent, nobody counted for more than `horizon`.
        horizon: the longest that any run was watched.
        num_runs: of which `num_censored` never reached the target.
    """

    median: float | None
    restricted_mean: float
    horizon: float
    num_runs: int
    num_censored: int

    def sentence(self, unit: str) -> str:
        """What was found, in words."""
        reached = self.num_runs - self.num_censored
        median = (
            "no median, for fewer than half reached it" if self.median is None else f"median {self.median:.4g} {unit}"
        )
        censored = f"; {self.num_censored} never did and count as censored" if self.num_censored else ""
        return (
            f"{reached} of {self.num_runs} runs reached the target{censored}: {median}, mean "
            f"{self.restricted_mean:.4g} {unit} within the first {self.horizon:.4g}"
        )


def time_to_target(attempts: Sequence[Attempt]) -> TimeToTarget:
    """Kaplan and Meier's median and the restricted mean.

    Raises:
        ValueError: without any run.
    """
    if not attempts:
        raise ValueError("at least one run is needed, got none")
    horizon = max(attempt.spent for attempt in attempts)
    short, before, area = 1.0, 0.0, 0.0
    median: float | None = None
    for time in sorted({attempt.spent for attempt in attempts if attempt.reached}):
        at_risk = sum(attempt.spent >= time for attempt in attempts)
        events = sum(attempt.spent == time and attempt.reached for attempt in attempts)
        area += short * (time - before)
        short, before = short * (1 - events / at_risk), time
        if median is None and short <= 0.5 + 1e-12:
            median = time
    area += short * (horizon - before)
    num_censored = sum(not attempt.reached for attempt in attempts)
    return TimeToTarget(median, area, horizon, len(attempts), num_censored)
