"""Early stopping as a study sees it, whoever decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from supercm_ray.config import Leaf, Registry, Study
from supercm_ray.records import EpochMetrics, StudyFolder


class StoppingRule(Protocol):
    """Decides after each epoch of a trial whether it goes on."""

    def decide(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> bool:
        """Takes in the metrics of an epoch that is not the last; whether the trial is stopped."""

    def complete(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> None:
        """Takes in the last epoch of a trial that was not stopped."""

    def replay(self, folder: StudyFolder) -> None:
        """Recalls what was before a resumption: trials that ended, so that later ones are measured against them, and
        how far those came that were interrupted, so that they are not stopped where they went on before.
        """


class NoStopping:
    """Stops no trial early."""

    def __init__(self, study: Study) -> None:
        """Args: the study."""

    def decide(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> bool:
        """Never."""
        return False

    def complete(self, key: str, overrides: Mapping[str, Leaf], message: EpochMetrics) -> None:
        """No-op."""

    def replay(self, folder: StudyFolder) -> None:
        """No-op."""


class StoppingRuleFactory(Protocol):
    """What makes a stopping rule."""

    def __call__(self, study: Study) -> StoppingRule:
        """The rule of a study, before its first trial."""


SCHEDULERS: Registry[StoppingRuleFactory] = Registry("scheduler", "scheduler.name", "supercm_ray.runtime.schedulers")
"""Stopping rules by name."""
