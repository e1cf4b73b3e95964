"""Measurements of whole runs and searches of a scaling study.

Times are in seconds and memory in bytes. Samples are labeled and unlabeled ones together unless stated otherwise.
"""

from __future__ import annotations

from typing import TypeAlias

from pydantic import Field

from supercm_ray.config import Frozen
from supercm_ray.scaling.repetition import Repetition


class TargetRun(Frozen):
    """One run to the target accuracy."""

    num_workers: int = Field(ge=1)
    """Number of workers."""
    seed: int
    """Seed of the run."""
    reached: bool
    """Whether its validation accuracy reached the target."""
    seconds: float = Field(ge=0)
    """Training time until it reached the target, or until the run ended; the start of workers is excluded."""
    samples: int = Field(ge=0)
    """Number of samples trained on until then."""

    @property
    def key(self) -> str:
        """The key of its run folder."""
        return target_key(self.num_workers, self.seed)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of its tracked run, in the units of the file."""
        return {"reached": float(self.reached), "seconds": self.seconds, "samples": float(self.samples)}


class TuningRun(Frozen):
    """One search with some number of concurrent trials."""

    trials_at_once: int = Field(ge=1)
    """Number of concurrent trials."""
    repetition: int = Field(ge=0)
    """Index of the repetition of this search."""
    gpus_per_trial: float = Field(0.0, ge=0)
    """GPUs of each trial; a fraction means a GPU shared with other trials."""
    num_trials: int = Field(ge=1)
    """Number of trials that ended, whatever their status."""
    num_complete: int = Field(0, ge=0)
    """Number of trials that were trained to the end."""
    num_pruned: int = Field(0, ge=0)
    """Number of trials that were stopped early."""
    num_failed: int = Field(0, ge=0)
    """Number of trials that failed."""
    seconds: float = Field(gt=0)
    """Time from the first trial's start to the last one's end, the start of trial processes included."""
    best: tuple[tuple[float, float], ...] = ()
    """Seconds since the first trial's start and the best value by then, for each improvement."""

    @property
    def setting(self) -> tuple[int, float]:
        """Number of concurrent trials, and GPUs of each."""
        return self.trials_at_once, self.gpus_per_trial

    @property
    def trials_per_hour(self) -> float:
        """Trials that ended per hour."""
        return 3600 * self.num_trials / self.seconds

    @property
    def key(self) -> str:
        """The key of its run folder."""
        return search_key(self.setting, self.repetition)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of its tracked run, in the units of the file."""
        return {
            "seconds": self.seconds,
            "num_trials": float(self.num_trials),
            "trials_per_hour": self.trials_per_hour,
        }


Measurement: TypeAlias = Repetition | TargetRun | TuningRun


def target_key(num_workers: int, seed: int) -> str:
    """Returns the key of the run folder of a run to the target."""
    return f"targets/{num_workers}-{seed}"


def search_key(setting: tuple[int, float], repetition: int) -> str:
    """Returns the key of the run folder of a search with these concurrent trials and GPUs of each."""
    return f"searches/{setting[0]}x{setting[1]:g}-{repetition}"
