"""The `scaling` section of a study file: what a scaling study measures and simulates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt, model_validator

from supercm_ray.config.registry import Frozen, rule_error
from supercm_ray.errors import StudyError

if TYPE_CHECKING:
    from supercm_ray.config.study import Study

EFFICIENCY_FLOOR = 0.7
"""Efficiency below which a number of workers is not recommended for its speed, where nothing else is asked for."""


class Network(Frozen):
    """The network between workers that a simulation assumes."""

    bandwidth: float = Field(gt=0)
    """Bandwidth of a node's link to the other nodes in bytes per second, shared by the node's workers, such as 1.25e9
    for 10 gigabit Ethernet."""
    latency_s: float = Field(1e-5, ge=0)
    """Latency of a message between two nodes, in seconds."""
    workers_per_node: int = Field(1, ge=1)
    """Workers on each node."""
    inner_bandwidth: float = Field(100e9, gt=0)
    """Bandwidth between workers of the same node, in bytes per second."""
    inner_latency_s: float = Field(5e-6, ge=0)
    """Latency of a message between workers of the same node, in seconds."""
    overlap: float = Field(0.0, ge=0, le=1)
    """Share of the compute time, from 0 to 1, during which communication runs at the same time."""


class SimulationConfig(Network):
    """Step times to predict for numbers of workers that are not available, on an assumed network."""

    num_workers: tuple[PositiveInt, ...] = Field(min_length=1)
    """Numbers of workers for which to predict a step's time, such as `[8, 16]`."""


class ScalingConfig(Frozen):
    """What `scale` measures: steps at several numbers of workers, searches with several trials at once, or both."""

    num_workers: tuple[int, ...] = ()
    """Numbers of workers at which to time a training step, such as `[1, 2, 4]`. 1 is a process without
    DistributedDataParallel."""
    trials_at_once: tuple[int, ...] = ()
    """Numbers of concurrent trials with which to search the study's space, such as `[1, 2]`."""
    mode: Literal["strong", "weak"] = "strong"
    """What the batch sizes of `base.training` mean: the batch of all workers together (strong scaling), or the batch of
    each worker (weak scaling)."""
    repetitions: int = Field(5, ge=1)
    """Number of times to measure each number of workers or concurrent trials, from 1; the order is random."""
    warmup_steps: int = Field(5, ge=0)
    """Number of steps at the start of each repetition that are run but not measured, from 0."""
    num_steps: int = Field(30, ge=1)
    """Number of steps to measure in each repetition, from 1."""
    gpu_fractions: tuple[float, ...] = ()
    """Fractions of a GPU to give each trial of a search, such as `[0.25, 0.5]`. Empty: `budget.gpus_per_worker`."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Validation accuracy, from 0 to 1, to which to train whole runs at each number of workers. Unset: no such runs."""
    num_seeds: int = Field(3, ge=1)
    """Number of runs to `target_accuracy` at each number of workers, from 1, each with a seed of its own."""
    skip_missing: bool = False
    """Whether to leave out numbers of workers or concurrent trials that the cluster has no room for, and name them in
    the report, instead of ending with an error."""
    price_per_gpu_hour: float | None = Field(None, gt=0)
    """Price of one GPU for one hour, in any currency; adds the cost to the table."""
    efficiency_floor: float = Field(EFFICIENCY_FLOOR, ge=0, le=1)
    """Efficiency, from 0 to 1, below which a number of workers is not recommended for its speed. Efficiency is the
    speedup divided by the number of workers."""
    placement: Literal["pack", "spread"] = "pack"
    """Whether to place workers on as few nodes as possible (pack), or on as many (spread)."""
    simulation: SimulationConfig | None = None
    """Numbers of workers and a network for which to predict step times from the measurements. Unset: none."""

    @model_validator(mode="after")
    def _check(self) -> ScalingConfig:
        for name, values in {"num_workers": self.num_workers, "trials_at_once": self.trials_at_once}.items():
            if len(set(values)) != len(values) or min(values, default=1) < 1:
                raise rule_error("whole numbers from 1 on, each once", f"{list(values)}", path=name)
        fractions = self.gpu_fractions
        if len(set(fractions)) != len(fractions) or min(fractions, default=0) < 0:
            got = f"{list(fractions)}"
            raise rule_error("fractions of a GPU, none below 0 and each once", got, path="gpu_fractions")
        if not self.num_workers and not self.trials_at_once:
            remedy = "give num_workers or trials_at_once, such as [1, 2, 4]"
            raise rule_error("something to measure", "neither num_workers nor trials_at_once", remedy=remedy)
        for name, needs_workers in {"target_accuracy": self.target_accuracy, "simulation": self.simulation}.items():
            if needs_workers is not None and not self.num_workers:
                remedy = f"give num_workers, or leave out {name}"
                raise rule_error(f"numbers of workers for `{name}`", "none", path="num_workers", remedy=remedy)
        if fractions and not self.trials_at_once:
            got = f"gpu_fractions={list(fractions)} and none"
            raise rule_error(
                "concurrent trials that share GPUs", got, path="trials_at_once", remedy="give both or none"
            )
        return self

    def batch_sizes(self, study: Study, num_workers: int) -> dict[str, int]:
        """Returns the batch sizes of all workers together, by dotted path of `base`."""
        factor = num_workers if self.mode == "weak" else 1
        training = study.base.training
        return {
            "training.labeled_batch_size": factor * training.labeled_batch_size,
            "training.unlabeled_batch_size": factor * training.unlabeled_batch_size,
        }


def scaling_of(study: Study) -> ScalingConfig:
    """Returns the study's scaling section.

    Raises:
        StudyError: if it has none.
    """
    if study.scaling is None:
        raise StudyError(
            f"the section `scaling` must stand in {study.source} to be measured, got none; add it, or give "
            "scaling.num_workers=[1,2,4]"
        )
    return study.scaling


def check_scaling(study: Study, scaling: ScalingConfig) -> None:
    """Checks that a study can be measured as its scaling section says.

    Raises:
        StudyError: if workers cannot share a batch evenly, there is no space to search, or a GPU cannot be divided.
    """
    if study.base.algorithm.closed_form:
        raise StudyError(
            f"an algorithm that is trained in steps must stand in {study.source} to be measured, got "
            f"base.algorithm.name={study.base.algorithm.name}, which is fitted at once; take another"
        )
    _check_batches(study, scaling)
    if scaling.trials_at_once and not study.space:
        raise StudyError(
            f"a space to search must stand in {study.source} for scaling.trials_at_once, got an empty `space`; "
            "add one, or leave out trials_at_once"
        )
    bad = [fraction for fraction in scaling.gpu_fractions if fraction not in (0, 1)]
    if bad and study.budget.worker_range[1] > 1:
        raise StudyError(
            f"each of several workers of a trial must have no GPU or one, got scaling.gpu_fractions={bad} with "
            f"budget.num_workers={study.budget.num_workers} in {study.source}; take 0 or 1, or one worker"
        )


def _check_batches(study: Study, scaling: ScalingConfig) -> None:
    for num_workers in scaling.num_workers:
        for path, size in scaling.batch_sizes(study, num_workers).items():
            if size % num_workers:
                raise StudyError(
                    f"workers must share each batch evenly: base.{path} in {study.source} must be a multiple of "
                    f"{num_workers} for scaling.num_workers={list(scaling.num_workers)}, got {size}; change either, or "
                    "take scaling.mode=weak"
                )
