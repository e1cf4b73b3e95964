"""All measurements of a scaling study, from which its table, page and plots are computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from supercm_ray.config import EFFICIENCY_FLOOR, Frozen, Objective, SimulationConfig
from supercm_ray.errors import StudyError
from supercm_ray.records import Node, reason_of
from supercm_ray.scaling.measured_runs import TargetRun, TuningRun
from supercm_ray.scaling.repetition import Repetition

VERSION: Literal[2] = 2
"""Version of the file's layout; a file of another version is refused."""
FILE_NAME = "measurements.json"


class Provenance(Frozen):
    """The study that was measured, and the software it was measured with."""

    study: str
    """Name of the study."""
    objective: Objective | None = None
    """The metric that searches optimise."""
    job_samples: int = Field(ge=1)
    """Number of samples that the whole job of the study's base configuration trains on."""
    command: str
    """The command line, or empty if the Python API was called."""
    commit: str
    """Commit of the source code, empty if unknown; several, joined by commas, if measurements were made with each."""
    versions: dict[str, str]
    """Versions of packages by name; `2.14 and 2.15` if measurements were made with both."""


class Measurements(Provenance):
    """The content of a file of measurements."""

    version: Literal[2] = VERSION
    """Version of the file's layout."""
    mode: Literal["strong", "weak"]
    """Whether the batch of all workers together is fixed (strong), or that of each worker (weak)."""
    nodes: tuple[Node, ...]
    """The nodes that measured; a node that changed between measurements is listed again."""
    warmup_steps: int = Field(ge=0)
    """Number of steps at the start of each repetition that were not measured."""
    price_per_gpu_hour: float | None = Field(None, gt=0)
    """Price of one GPU for one hour."""
    efficiency_floor: float = Field(EFFICIENCY_FLOOR, ge=0, le=1)
    """Efficiency below which a number of workers is not recommended for its speed."""
    placement: Literal["pack", "spread"] = "pack"
    """Whether workers were placed on as few nodes as possible (pack), or on as many (spread)."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Validation accuracy that target runs should reach."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """What was asked for and not measured, such as `8 workers`, and the reason."""
    repetitions: tuple[Repetition, ...] = ()
    """Timings of steps, for all numbers of workers."""
    targets: tuple[TargetRun, ...] = ()
    """Runs to the target accuracy."""
    tuning: tuple[TuningRun, ...] = ()
    """Searches."""
    simulation: SimulationConfig | None = None
    """Numbers of workers and a network to simulate."""


def load_measurements(path: Path) -> Measurements:
    """Reads the measurements of a scaling study.

    Raises:
        StudyError: if there is no such file, it is of another version, or not a file of measurements.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"a scaling study's {FILE_NAME} must be readable, got {path}: {reason_of(error)}") from error
    _check_version(text, path)
    try:
        return Measurements.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise StudyError(
            f"{path} must hold the measurements of a scaling study, got for {place}: {first['msg']}; name another "
            "file, or measure again in a folder of its own"
        ) from error


def _check_version(text: str, path: Path) -> None:
    """Refuses a file of another version; whether it is a file of measurements at all is checked later."""
    try:
        tree = json.loads(text)
    except ValueError:
        return
    found = tree.get("version", VERSION) if isinstance(tree, dict) else VERSION
    if found != VERSION:
        raise StudyError(
            f"{path} must hold measurements of version {VERSION}, got version {found}; measure again, or read it with "
            "the version of supercm_ray that wrote it"
        )
