"""The interface of early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from supercm_ray.config import Leaf, Registry, Study
from supercm_ray.records import EpochMetrics, RunView


class StoppingRule(Protocol):
    """Decides after each epoch of a trial whether it continues."""

    def decide(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> bool:
        """Reads the metrics of an epoch that is not the last, and returns whether the trial is stopped."""

    def complete(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> None:
        """Reads the last epoch of a trial that was not stopped."""

    def replay(self, trials: Sequence[RunView]) -> None:
        """Restores its state after a resumption: from trials that ended, so that later ones are compared with them, and
        from interrupted ones, so that they are not stopped at an epoch that they have passed.
        """


class NoStopping:
    """Stops no trial early."""

    def __init__(self, study: Study) -> None:
        """Creates the rule; the study is ignored."""

    def decide(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> bool:
        """Returns False."""
        return False

    def complete(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> None:
        """No-op."""

    def replay(self, trials: Sequence[RunView]) -> None:
        """No-op."""


class StoppingRuleFactory(Protocol):
    """A function or class that creates a stopping rule."""

    def __call__(self, study: Study) -> StoppingRule:
        """Creates the rule of a study, before its first trial."""


SCHEDULERS: Registry[StoppingRuleFactory] = Registry("scheduler", "scheduler.name", "supercm_ray.runtime.schedulers")
"""Stopping rules by name."""
