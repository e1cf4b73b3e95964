"""One repetition of timing the steps of a group of workers.

Times are in seconds and memory in bytes.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Literal, TypeAlias

from pydantic import Field

from supercm_ray.config import Frozen
from supercm_ray.records import StepTimings

Part: TypeAlias = Literal["compute", "communication", "straggler wait", "data"]
PARTS: tuple[Part, ...] = ("compute", "communication", "straggler wait", "data")
"""The parts of a step's time."""


class Repetition(Frozen):
    """One repetition of timing steps at one number of workers."""

    num_workers: int = Field(ge=1)
    """Number of workers; 1 is a process without DistributedDataParallel."""
    repetition: int = Field(ge=0)
    """Index of the repetition at this number of workers."""
    order: int = Field(ge=0)
    """Position in the random order in which the repetitions of all numbers of workers were run."""
    seed: int
    """Seed of the run."""
    started_ms: int = Field(ge=0)
    """When it began, in milliseconds since 1970."""
    startup_s: float = Field(ge=0)
    """Time from asking for the workers until the first step begins."""
    step_s: tuple[float, ...] = Field(min_length=1)
    """Time of each measured step, by the slowest worker's clock."""
    labeled_samples: int = Field(ge=0)
    """Labeled samples of a step, over all workers."""
    unlabeled_samples: int = Field(ge=0)
    """Unlabeled samples of a step, over all workers."""
    data_s: float = Field(ge=0)
    """Time until a batch is ready: median over steps, mean over workers, as are the other parts."""
    communication_s: float = Field(ge=0)
    """Time in collectives once all workers have reached them."""
    straggler_wait_s: float = Field(ge=0)
    """Time in which a worker waits for the slowest one to reach a collective."""
    compute_s: float = Field(ge=0)
    """Time of the rest of the step."""
    peak_memory_bytes: int = Field(0, ge=0)
    """Largest memory of a worker: reserved by PyTorch on a GPU, else the process's resident memory."""
    utilisation: float | None = Field(None, ge=0)
    """Mean over workers of the fraction of processors (CPU) or time (GPU) in use; None if unknown."""
    gradient_bytes: int = Field(0, ge=0)
    """Bytes that one reduction of all gradients carries."""
    num_collectives: int = Field(0, ge=0)
    """Number of collectives of a step; 0 for one worker."""
    collective_bytes: int = Field(0, ge=0)
    """Bytes that the collectives of a step carry together."""
    small_squares: tuple[float, ...] = ()
    """Mean over workers of the squared norm of a worker's gradient, by step; empty for one worker."""
    big_squares: tuple[float, ...] = ()
    """Squared norm of the mean gradient, by step; empty for one worker."""
    nodes: tuple[str, ...] = ()
    """Name of each worker's node, by rank."""

    @classmethod
    def of(
        cls,
        timings: StepTimings,
        *,
        num_workers: int,
        repetition: int,
        order: int,
        seed: int,
        started_ms: int,
        startup_s: float,
    ) -> Repetition:
        """Creates a repetition from the timings of its workers."""
        return cls.model_validate(
            {
                **asdict(timings),
                "nodes": tuple(node.name for node in timings.nodes),
                "num_workers": num_workers,
                "repetition": repetition,
                "order": order,
                "seed": seed,
                "started_ms": started_ms,
                "startup_s": startup_s,
            }
        )

    @property
    def samples(self) -> int:
        """Samples of a step over all workers."""
        return self.labeled_samples + self.unlabeled_samples

    @property
    def median_step_s(self) -> float:
        """Median time of a step."""
        return statistics.median(self.step_s)

    @property
    def parts_s(self) -> dict[Part, float]:
        """Time of a step by part."""
        values = (self.compute_s, self.communication_s, self.straggler_wait_s, self.data_s)
        return dict(zip(PARTS, values, strict=True))

    @property
    def key(self) -> str:
        """The key of its run folder."""
        return repetition_key(self.num_workers, self.repetition)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of its tracked run, in the units of the file."""
        return {
            "startup_s": self.startup_s,
            "data_s": self.data_s,
            "compute_s": self.compute_s,
            "communication_s": self.communication_s,
            "straggler_wait_s": self.straggler_wait_s,
            "peak_memory_bytes": float(self.peak_memory_bytes),
            "gradient_bytes": float(self.gradient_bytes),
            "step_s": self.median_step_s,
            "samples_per_s": self.samples / self.median_step_s,
        }


def repetition_key(num_workers: int, repetition: int) -> str:
    """Returns the key of the run folder of a repetition."""
    return f"repetitions/{num_workers}-{repetition}"
