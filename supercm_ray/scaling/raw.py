"""The one file with everything that a scaling study measured; every figure of its table and page comes from it alone.

Times are in seconds, memory in bytes, rows are labeled and unlabeled together unless said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from supercm_ray.config import Frozen, Objective
from supercm_ray.errors import StudyError
from supercm_ray.scaling.cost import EFFICIENCY_FLOOR

VERSION: Literal[1] = 1
"""Of the layout; a file of another is refused."""


class Host(Frozen):
    """What a machine is, as far as it bears on speed."""

    name: str
    """Host name."""
    cpu: str = ""
    """Model of the processor."""
    num_cpus: int = Field(1, ge=1)
    """Logical processors that this process may use."""
    memory_bytes: int = Field(0, ge=0)
    """Main memory."""
    gpus: tuple[str, ...] = ()
    """Models of the visible GPUs."""
    system: str = ""
    """Operating system and its release."""


class Repetition(Frozen):
    """One repetition at one count: the steps after the warm-up, by the slowest worker's clock."""

    workers: int = Field(ge=1)
    """Count; 1 is a process without DDP."""
    repetition: int = Field(ge=0)
    """Number within the count."""
    order: int = Field(ge=0)
    """Place in the random order in which repetitions of all counts were run."""
    seed: int
    """Of the run."""
    started_ms: int = Field(ge=0)
    """When it was begun, in milliseconds since 1970."""
    startup_s: float = Field(ge=0)
    """From asking for the workers until the first step begins."""
    step_s: tuple[float, ...] = Field(min_length=1)
    """Each measured step, the device waited for at its end."""
    labeled_samples: int = Field(ge=0)
    """Labeled rows of a step, over all workers."""
    unlabeled_rows: int = Field(ge=0)
    """Unlabeled rows of a step, over all workers."""
    data_s: float = Field(ge=0)
    """Time in which a batch is made ready: the median over steps, the mean over workers, as for the other parts."""
    communication_s: float = Field(ge=0)
    """Time in collectives once all workers are there."""
    waiting_s: float = Field(ge=0)
    """Time in which a worker waits for the slowest to come to a collective."""
    compute_s: float = Field(ge=0)
    """The rest of the step."""
    peak_memory_bytes: int = Field(0, ge=0)
    """Of the worker that took most: on a GPU what PyTorch reserved, else the process's resident memory."""
    utilisation: float | None = Field(None, ge=0)
    """Mean share of its processors (CPU) or time with work (GPU) over workers; None where it cannot be read."""
    gradient_bytes: int = Field(0, ge=0)
    """What one reduction of all gradients carries."""
    num_collectives: int = Field(0, ge=0)
    """Collectives of a step, one for each bucket of gradients among them; 0 for one worker."""
    collective_bytes: int = Field(0, ge=0)
    """What the collectives of a step carry together."""
    small_squares: tuple[float, ...] = ()
    """Of each step, mean over workers of the squared norm of a worker's gradient; empty for one worker."""
    big_squares: tuple[float, ...] = ()
    """Of each step, the squared norm of the mean gradient."""
    nodes: tuple[str, ...] = ()
    """Node of each worker, by rank."""

    @property
    def rows(self) -> int:
        """Rows of a step over all workers."""
        return self.labeled_samples + self.unlabeled_rows


class TargetRun(Frozen):
    """One run towards the target accuracy."""

    workers: int = Field(ge=1)
    """Count."""
    seed: int
    """Of the run."""
    reached: bool
    """Whether its validation accuracy came to the target."""
    seconds: float = Field(ge=0)
    """Of training until it did, or until the run ended; the start of workers is left out."""
    rows: int = Field(ge=0)
    """Rows trained on until then."""


class TuningRun(Frozen):
    """One search with so many trials at once."""

    trials_at_once: int = Field(ge=1)
    """Count."""
    repetition: int = Field(ge=0)
    """Number within the count."""
    gpus_per_trial: float = Field(0.0, ge=0)
    """Share of a GPU that each trial has."""
    num_trials: int = Field(ge=1)
    """Trials that came to an end, however they did."""
    num_complete: int = Field(0, ge=0)
    """Those of them that were trained to the end."""
    num_pruned: int = Field(0, ge=0)
    """Those that were stopped early."""
    num_failed: int = Field(0, ge=0)
    """Those that failed."""
    seconds: float = Field(gt=0)
    """From the first trial's begin to the last one's end, the start of trial processes with it."""
    best: tuple[tuple[float, float], ...] = ()
    """Seconds since the first trial's begin, and the best value by then, each time it became better."""


class SimulationRequest(Frozen):
    """What was to be simulated, under which assumptions."""

    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Workers."""
    bandwidth: float = Field(gt=0)
    """Bytes a second of a node's link to the others, which its workers share."""
    latency_s: float = Field(1e-5, ge=0)
    """Of a message between nodes."""
    workers_per_node: int = Field(1, ge=1)
    """Workers of a node."""
    inner_bandwidth: float = Field(100e9, gt=0)
    """Bytes a second between workers of one node."""
    inner_latency_s: float = Field(5e-6, ge=0)
    """Of a message within a node."""
    overlap: float = Field(0.0, ge=0, le=1)
    """Share of the compute time during which the network works too."""


class Raw(Frozen):
    """All of a scaling study."""

    version: Literal[1] = VERSION
    """Of the layout."""
    study: str
    """Its name."""
    mode: Literal["strong", "weak"]
    """Whether the batch of all workers is fixed, or that of each."""
    job_rows: int = Field(ge=1)
    """Rows of the whole job of the study's base configuration."""
    command: str
    """As it was given."""
    commit: str
    """Of the source code, empty where unknown; several with commas between them where they measured."""
    versions: dict[str, str]
    """Of packages; `2.14 and 2.15` where both measured."""
    hosts: tuple[Host, ...]
    """Machines; one that was changed meanwhile stands there again."""
    warmup_steps: int = Field(ge=0)
    """Steps dropped at the begin of each repetition."""
    price: float | None = Field(None, gt=0)
    """Of one GPU for one hour."""
    efficiency_floor: float = Field(EFFICIENCY_FLOOR, ge=0, le=1)
    """Efficiency below which a count is not recommended for its speed."""
    placement: Literal["pack", "spread"] = "pack"
    """Whether workers were put on as few nodes as possible, or on as many."""
    objective: Objective | None = None
    """What searches are to bring to its best."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Validation accuracy that target runs are to reach."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """What was asked for and not measured, such as `8 workers`, and why."""
    repetitions: tuple[Repetition, ...] = ()
    """Of all counts."""
    targets: tuple[TargetRun, ...] = ()
    """Runs towards the target."""
    tuning: tuple[TuningRun, ...] = ()
    """Searches."""
    simulation: SimulationRequest | None = None
    """What was to be simulated."""


def load_raw(path: Path) -> Raw:
    """Reads the file.

    Raises:
        StudyError: where there is none, or it is not such a file.
    """
    try:
        return Raw.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"a scaling study's raw.json must be readable, got {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise StudyError(
            f"{path} must be a scaling study's raw figures of layout {VERSION}, got for {place}: {first['msg']}"
        ) from error
