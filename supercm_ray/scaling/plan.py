"""The plan of a scaling study: what is left to measure, and in which order."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from supercm_ray.config import ScalingConfig, Study
from supercm_ray.scaling.measurements import Measurements

SearchSetting: TypeAlias = tuple[int, float]
"""Number of concurrent trials, and GPUs of each."""

Setting = TypeVar("Setting", int, SearchSetting)


@dataclass(frozen=True)
class Remaining:
    """The measurements that are left, in order.

    Attributes:
        repetitions: numbers of workers, each with the index of a repetition.
        targets: numbers of workers, each with the seed of a run to the target.
        searches: concurrent trials and GPUs of each, with the index of a repetition.
    """

    repetitions: list[tuple[int, int]]
    targets: list[tuple[int, int]]
    searches: list[tuple[SearchSetting, int]]

    def __bool__(self) -> bool:
        """Returns whether anything is left."""
        return bool(self.repetitions or self.targets or self.searches)

    @property
    def num_workers(self) -> list[int]:
        """The numbers of workers among them, in ascending order."""
        return sorted({num_workers for num_workers, _ in [*self.repetitions, *self.targets]})

    @property
    def settings(self) -> list[SearchSetting]:
        """The concurrent trials and GPUs of the searches among them, in ascending order."""
        return sorted({setting for setting, _ in self.searches})

    def only(self, num_workers: Collection[int], settings: Collection[SearchSetting]) -> Remaining:
        """Returns those with these numbers of workers, or these concurrent trials and GPUs."""
        return Remaining(
            [one for one in self.repetitions if one[0] in num_workers],
            [one for one in self.targets if one[0] in num_workers],
            [one for one in self.searches if one[0] in settings],
        )


def remaining(study: Study, scaling: ScalingConfig, measured: Measurements) -> Remaining:
    """Returns the measurements that a scaling study still lacks."""
    seed, num_seeds = study.base.seed, scaling.num_seeds if scaling.target_accuracy is not None else 0
    fractions = scaling.gpu_fractions or (study.budget.gpus_per_worker,)
    settings = [(trials_at_once, fraction) for trials_at_once in scaling.trials_at_once for fraction in fractions]
    timed = {(one.num_workers, one.repetition) for one in measured.repetitions}
    trained = {(one.num_workers, one.seed - seed) for one in measured.targets}
    searched = {(one.setting, one.repetition) for one in measured.tuning}
    return Remaining(
        schedule(scaling.num_workers, scaling.repetitions, seed, timed),
        [(count, seed + i) for count, i in schedule(scaling.num_workers, num_seeds, seed, trained)],
        schedule(settings, scaling.repetitions, seed, searched),
    )


def schedule(
    settings: Sequence[Setting], repetitions: int, seed: int, done: Collection[tuple[Setting, int]]
) -> list[tuple[Setting, int]]:
    """Returns the pairs of setting and repetition that are left to measure, in order.

    Each block has every setting once, in an order that follows from seed and block alone, so that drift over time
    affects all settings alike.
    """
    pairs = []
    for repetition in range(repetitions):
        block = sorted(settings)
        random.Random(f"{seed}/{repetition}").shuffle(block)  # noqa: S311 (no secret)
        pairs += [(setting, repetition) for setting in block]
    return [pair for pair in pairs if pair not in done]


def identity(study: Study, scaling: ScalingConfig) -> str:
    """Returns a hash of everything that a measurement depends on: not of the numbers of workers and trials, the
    repetitions, and what is computed afterwards.
    """
    tree = study.model_dump(mode="json", exclude={"name", "num_seeds", "num_candidates", "scaling", "budget"})
    tree["budget"] = study.budget.model_dump(mode="json", exclude={"max_concurrent_trials", "max_failures"})
    how = scaling.model_dump(mode="json", include={"mode", "warmup_steps", "num_steps", "placement"})
    return hashlib.sha256(json.dumps({"study": tree, **how}, sort_keys=True).encode()).hexdigest()
