"""What a scaling study is to measure, and in which order."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from supercm_ray.config import Frozen, Study, rule_error
from supercm_ray.errors import StudyError
from supercm_ray.scaling.cost import EFFICIENCY_FLOOR
from supercm_ray.scaling.raw import SimulationRequest

Count = TypeVar("Count", int, tuple[int, float])


class ScalingPlan(Frozen):
    """What is to be measured of a study."""

    workers: tuple[int, ...] = ()
    """Counts of workers at which a step is timed."""
    trials_at_once: tuple[int, ...] = ()
    """Counts of trials at once with which the study is searched."""
    mode: Literal["strong", "weak"] = "strong"
    """Whether the study's batch is that of all workers together, or that of each."""
    repetitions: int = Field(5, ge=1)
    """Of each count."""
    warmup_steps: int = Field(5, ge=0)
    """Steps dropped at the begin of each repetition."""
    num_steps: int = Field(30, ge=1)
    """Steps measured in each repetition."""
    gpu_fractions: tuple[float, ...] = ()
    """Shares of a GPU that each trial of a search is given; none for `budget.gpus_per_worker`."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Validation accuracy towards which whole runs are trained at each count of workers."""
    num_seeds: int = Field(3, ge=1)
    """Such runs for each count."""
    skip_missing: bool = False
    """Whether counts for which the cluster has no room are left out, by name, instead of refused."""
    price: float | None = Field(None, gt=0)
    """Of one GPU for one hour."""
    efficiency_floor: float = Field(EFFICIENCY_FLOOR, ge=0, le=1)
    """Efficiency below which a count is not recommended for its speed."""
    placement: Literal["pack", "spread"] = "pack"
    """Whether workers are put on as few nodes as possible, or on as many."""
    simulation: SimulationRequest | None = None
    """What is to be simulated."""
    command: str = ""
    """As it was given, for the record."""

    @model_validator(mode="after")
    def _check(self) -> ScalingPlan:
        for name in ("workers", "trials_at_once"):
            values = getattr(self, name)
            if len(set(values)) != len(values) or min(values, default=1) < 1:
                raise rule_error("counts from 1 on, each once", f"{list(values)}", path=name)
        shares = self.gpu_fractions
        if len(set(shares)) != len(shares) or min(shares, default=0) < 0:
            raise rule_error("shares of a GPU, none below 0 and each once", f"{list(shares)}", path="gpu_fractions")
        if not self.workers and not self.trials_at_once:
            raise rule_error("something to measure", "no count", path="workers", remedy="give counts, such as 1,2,4")
        if self.target_accuracy is not None and not self.workers:
            raise rule_error("counts for runs towards a target", "none", path="workers", remedy="give workers")
        if self.simulation is not None and not self.workers:
            raise rule_error("counts to simulate from", "none", path="workers", remedy="give workers with --simulate")
        if shares and not self.trials_at_once:
            got = f"gpu_fractions={list(shares)} and none"
            raise rule_error("counts of trials that share GPUs", got, path="trials_at_once", remedy="give both or none")
        return self

    def sizes(self, study: Study, count: int) -> dict[str, int]:
        """The batch sizes of all workers together at a count, by dotted path."""
        factor = count if self.mode == "weak" else 1
        names = ("labeled_batch_size", "unlabeled_batch_size")
        return {f"training.{name}": factor * getattr(study.base.training, name) for name in names}

    def check_batches(self, study: Study) -> None:
        """Sees that every count of workers shares every batch evenly.

        Raises:
            StudyError: where one does not.
        """
        for count in self.workers:
            for path, size in self.sizes(study, count).items():
                if size % count:
                    raise StudyError(
                        f"workers share each batch evenly: base.{path} in {study.source} must be a multiple of {count} "
                        f"for {count} workers, got {size}; change it or the counts, or take weak scaling"
                    )

    def check_searches(self, study: Study) -> None:
        """Sees that the study can be searched with the shares of a GPU that were asked for.

        Raises:
            StudyError: where it cannot.
        """
        if self.trials_at_once and not study.space:
            raise StudyError(f"a study to tune must search something, got an empty `space` in {study.source}")
        bad = [share for share in self.gpu_fractions if share not in (0, 1)]
        if bad and study.budget.worker_range[1] > 1:
            raise StudyError(
                f"each of several workers of a trial has no GPU or one, got gpu_fractions={bad} with "
                f"budget.num_workers={study.budget.num_workers} in {study.source}; take 0 or 1, or one worker"
            )

    def identity(self, study: Study) -> str:
        """A hash of all that a measurement depends on; counts, repetitions and what is computed later may change."""
        tree = study.model_dump(mode="json", exclude={"name": True, "num_seeds": True, "budget": _FREE_BUDGET})
        how = {name: getattr(self, name) for name in ("mode", "warmup_steps", "num_steps", "placement")}
        return hashlib.sha256(json.dumps({"study": tree, **how}, sort_keys=True).encode()).hexdigest()


_FREE_BUDGET = {"max_concurrent_trials", "max_failures"}


def make_plan(**values: Any) -> ScalingPlan:
    """A plan from values as they come from a caller; None stands for the default.

    Raises:
        StudyError: for one that breaks a rule.
    """
    try:
        return ScalingPlan(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise _broken(error, "a scaling study") from error


def simulation_of(counts: tuple[int, ...], **values: float | None) -> SimulationRequest | None:
    """What is to be simulated, None without any count.

    Args:
        counts: workers.
        values: the other fields of SimulationRequest; None stands for the default.

    Raises:
        StudyError: for a value that breaks a rule, a bandwidth that is not stated, or values without counts.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if not counts and given:
        shown = ", ".join(f"{name}={value:g}" for name, value in given.items())
        raise StudyError(f"a network is for a simulation, got {shown} without any count; give --simulate too")
    if not counts:
        return None
    if "bandwidth" not in given:
        raise StudyError(
            "a simulation needs the bandwidth of a node's link in bytes a second, got none; give --bandwidth, such as "
            "1.25e9 for 10 gigabit Ethernet"
        )
    try:
        return SimulationRequest.model_validate({"counts": counts, **given})
    except ValidationError as error:
        raise _broken(error, "a simulation") from error


def _broken(error: ValidationError, whole: str) -> StudyError:
    first = error.errors()[0]
    context = first.get("ctx", {})
    place = ".".join([*map(str, first["loc"]), *([context["path"]] if context.get("path") else [])])
    got = context.get("got", repr(first["input"]))
    remedy = f"; {context['remedy']}" if context.get("remedy") else ""
    rule = context.get("rule") or first["msg"].replace("Input should be", "a value that is")
    return StudyError(f"{rule} must hold for {place} of {whole}, got {got}{remedy}")


def schedule(
    counts: Sequence[Count], repetitions: int, seed: int, done: Collection[tuple[Count, int]]
) -> list[tuple[Count, int]]:
    """The (count, repetition) pairs left to be measured, in order: block by block each count once, in an order that
    follows from seed and block alone, so that what drifts with time falls on all counts alike.
    """
    pairs = []
    for repetition in range(repetitions):
        block = sorted(counts)
        random.Random(f"{seed}/{repetition}").shuffle(block)  # noqa: S311 (no secret)
        pairs += [(count, repetition) for count in block]
    return [pair for pair in pairs if pair not in done]
