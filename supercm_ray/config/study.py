"""A study: one complete base configuration and, optionally, what to search and how.

This is the schema of study files. `supercm_ray.config` reads and checks them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from supercm_ray.config.distributions import CategoricalDistribution, Distribution, FloatDistribution, IntDistribution
from supercm_ray.config.registry import (
    Direction,
    Frozen,
    NamedSection,
    registry_of,
    rule_error,
)
from supercm_ray.config.run import AUGMENTATION, FREE_TO_CHANGE, Config, Leaf, flatten, is_option
from supercm_ray.config.scaling import ScalingConfig
from supercm_ray.errors import nearest

NAME, LONGEST_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", 100
_VARIED_DATA = ("label_ratio", "labels_per_class", "label_choice", *AUGMENTATION)


def why_fixed(path: str) -> str | None:
    """Returns why neither the space nor the baseline may vary this leaf of `base`, or None if they may."""
    section, _, name = path.partition(".")
    if section == "seed":
        return "parameters must not be chosen by a lucky seed"
    if section == "plugins":
        return "all trials share one program"
    if section == "data" and name.split(".")[0] not in _VARIED_DATA:
        return "all trials share one data set, one validation and one test split"
    if path == "training.num_epochs":
        return "all trials share one budget"
    return None


VAL_METRICS: Mapping[str, Direction] = {
    "val/accuracy": "maximize",
    "val/loss": "minimize",
    "val/balanced_accuracy": "maximize",
    "val/f1_macro": "maximize",
    "val/ece": "minimize",
}
"""Metrics of the validation split, each with the direction that is better."""


def selectable_metrics() -> tuple[str, ...]:
    """Returns the metrics that may select trials: those of validation and the registered validators, never test or
    oracle metrics.
    """
    return (*VAL_METRICS, *registry_of("objective.metric").names())


class Objective(Frozen):
    """An objective of the search: a validation metric, or a searched path such as `data.label_ratio`."""

    metric: str
    """Name of a selectable metric such as `val/accuracy`, or the dotted path of a searched leaf."""
    direction: Direction
    """Whether to maximize or minimize the metric."""


class Budget(Frozen):
    """The number of trials, and the resources of each."""

    num_trials: int = Field(20, ge=1)
    """Number of trials of the search, from 1; trials that are stopped early or fail count."""
    max_concurrent_trials: int | None = Field(None, ge=1)
    """Largest number of trials that run at the same time, from 1. None: as many as the cluster has room for."""
    num_workers: int | tuple[int, int] = 1
    """Number of workers that share every batch of a training run or trial, from 1. A pair such as [1, 4] is elastic: a
    run uses between the first and the second number, as the cluster has room."""
    cpus_per_worker: int = Field(1, ge=1)
    """Number of CPU cores reserved for each worker, from 1."""
    gpus_per_worker: float = Field(0.0, ge=0)
    """Number of GPUs reserved for each worker, from 0. A fraction, which only single-worker runs may ask for, shares a
    GPU with other trials; its memory is not divided."""
    max_failures: int = Field(3, ge=0)
    """Number of failures of a run's workers in a row, without a completed epoch in between, that are retried; from 0.
    With one more, the run fails."""

    @model_validator(mode="after")
    def _check(self) -> Budget:
        min_workers, max_workers = self.worker_range
        if not 1 <= min_workers <= max_workers:
            rule = "a number from 1, or a pair of them in ascending order"
            raise rule_error(rule, f"num_workers={self.num_workers}", path="num_workers")
        if max_workers > 1 and self.gpus_per_worker not in (0, 1):
            got = f"gpus_per_worker={self.gpus_per_worker:g} with num_workers={self.num_workers}"
            raise rule_error(
                "no GPU or one for each of several workers", got, path="gpus_per_worker", remedy="take 0 or 1"
            )
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """The minimum and the maximum number of workers of a run."""
        return self.num_workers if isinstance(self.num_workers, tuple) else (self.num_workers, self.num_workers)


class Sampler(NamedSection):
    """The Optuna sampler that proposes a trial's parameters."""

    path: ClassVar[str] = "sampler.name"

    name: str = "tpe"
    """Registered name of the sampler."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sampler's random numbers."""


class Scheduler(NamedSection):
    """The rule that stops trials early, by comparing the trials of one group after the same number of epochs."""

    path: ClassVar[str] = "scheduler.name"

    name: str = "asha"
    """Registered name of the stopping rule. `none` stops no trial."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, Mapping) else value


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Study(Frozen):
    """A study file: a base configuration and, optionally, what to search, compare and measure."""

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    """Name of the study, of its results folder and of the trackers' parent run; by default the file's name without
    `.yaml`. Up to 100 letters, digits, `_`, `.` and `-`, the first a letter or digit."""
    base: Config
    """The configuration that `train` runs and that trials vary."""
    space: dict[str, Distribution] = Field(default_factory=dict)
    """The search space: a distribution for each searched leaf of `base`, by the leaf's dotted path."""
    objective: Annotated[
        tuple[Objective, ...], BeforeValidator(_as_list, json_schema_input_type=Objective | tuple[Objective, ...])
    ] = Field((Objective(metric="val/accuracy", direction="maximize"),), min_length=1, strict=False)
    """One objective or several. The first one that is a metric decides early stopping and the finalists."""
    budget: Budget = Budget()
    """The number of trials, and the resources of each."""
    sampler: Sampler = Field(default_factory=Sampler)
    """The Optuna sampler that proposes a trial's parameters."""
    scheduler: Scheduler = Field(default_factory=Scheduler)
    """The rule that stops trials early."""
    enqueued_trials: tuple[dict[str, bool | int | float | str], ...] = ()
    """Parameters of the first trials, by dotted path of a searched leaf, such as values known to be good. Those that a
    trial omits are sampled."""
    baseline: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Overrides, by dotted path, that turn the best configuration into the baseline it is compared with. Empty: no
    comparison."""
    num_seeds: int = Field(3, ge=1)
    """Number of seeds, from 1, on which the best parameters of each group and its baseline are run after the search,
    which does not use these seeds."""
    num_candidates: int = Field(1, ge=1)
    """Number of parameters of each group, from 1, that the search's metric on fresh seeds chooses between. 1: the
    search's best are taken. k > 1: the search's k best and those of `base` are run on the fresh seeds without the test
    split, and the best on average there, with their baseline, are the only ones that the test split is opened for."""
    scaling: ScalingConfig | None = None
    """What `supercm-ray scale` measures; `train` and `tune` ignore it."""
    tracking: Annotated[tuple[str, ...], BeforeValidator(_as_names, json_schema_input_type=str | tuple[str, ...])] = (
        Field(("mlflow",), strict=False)
    )
    """Names of one or several trackers that runs are copied to: `mlflow`, `tensorboard`, one that a plug-in registers,
    or `none`. The environment variable SUPERCM_TRACKING, names separated by commas, takes precedence."""

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The file that the study was read from, for messages; the study's name if there is none."""
        return self._source or self.name

    @model_validator(mode="after")
    def _check(self) -> Study:
        for is_wanted in (_is_leaf, is_option):  # names, which options depend on, first
            self._check_space(filter(is_wanted, self.space))
            self._check_baseline(filter(is_wanted, self.baseline))
        self._check_enqueued_trials()
        self._check_objectives()
        self._check_batches()
        self.scheduler.options.check(self)
        return self

    def _check_space(self, paths: Iterable[str]) -> None:
        for path in paths:
            for base in self._bases(path, f"space.{path}"):
                for key, value in self.space[path].ends().items():
                    _check_fits(base, path, value, f"space.{path}.{key}")

    def _check_baseline(self, paths: Iterable[str]) -> None:
        for path in paths:
            for base in self._bases(path, f"baseline.{path}"):
                _check_fits(base, path, self.baseline[path], f"baseline.{path}")

    def _bases(self, path: str, place: str) -> list[Config]:
        """Returns the configurations that a varied path is checked in: the base, or for an option the base with each
        name that may be set beside it, all of which must have the option.
        """
        bases = [self.base]
        if is_option(path):
            name_path = f"{path.partition('.options.')[0]}.name"
            bases = [self.base.replace({name_path: name}) for name in self._names(name_path, place)]
        _check_varied(path, [leaf for base in bases for leaf in base.leaves()], place)
        for base in bases:
            if path not in base.leaves():
                name = base.leaves()[name_path]
                remedy = f"leave it out, or leave {name!r} out of `{name_path}`"
                got = f"none with {name_path}={name}"
                raise rule_error("an option of every name that is searched or compared", got, path=place, remedy=remedy)
        return bases

    def _names(self, name_path: str, place: str) -> list[Leaf]:
        """Returns the names that are searched or compared at `name_path`."""
        searched = self.space.get(name_path)
        names = [self.base.leaves()[name_path]] if searched is None else list(searched.ends().values())
        compared: list[Leaf] = [self.baseline[name_path]] if name_path in self.baseline else []
        return compared if compared and place.startswith("baseline.") else [*names, *compared]

    def _check_enqueued_trials(self) -> None:
        for i, params in enumerate(self.enqueued_trials):
            for path, value in params.items():
                place = f"enqueued_trials[{i}].{path}"
                if path not in self.space:
                    rule = "an enqueued trial sets searched paths only"
                    raise rule_error(rule, repr(value), path=place, remedy=nearest(path, self.space))
                if not self.space[path].contains(value):
                    got = f"{value!r}, with {_describe(self.space[path])}"
                    rule = "an enqueued trial lies inside the space"
                    raise rule_error(rule, got, path=place, remedy="widen the space or change the value")

    def _check_batches(self) -> None:
        """Checks that every possible number of workers can share every batch evenly."""
        min_workers, max_workers = self.budget.worker_range
        for name in ("labeled_batch_size", "unlabeled_batch_size"):
            path = f"training.{name}"
            sizes = {f"base.{path}": getattr(self.base.training, name)}
            if path in self.space and max_workers > 1:
                distribution = self.space[path]
                sizes = {f"space.{path}.{key}": value for key, value in distribution.ends().items()}
                sizes |= {f"space.{path}.step": distribution.step} if isinstance(distribution, IntDistribution) else {}
            unit = math.lcm(*range(min_workers, max_workers + 1))
            for place, size in sizes.items():
                if size % unit:
                    workers = min_workers if min_workers == max_workers else f"{min_workers} to {max_workers}"
                    got = f"{size} samples for {workers} workers"
                    remedy = f"take a multiple of {unit}, or other workers"
                    raise rule_error("workers share each batch evenly", got, path=place, remedy=remedy)

    def _check_objectives(self) -> None:
        for i, objective in enumerate(self.objective):
            if objective.metric not in (*VAL_METRICS, *self.space):
                self._check_metric(objective.metric, f"objective[{i}].metric")
        names = [objective.metric for objective in self.objective]
        if len(set(names)) != len(names):
            raise rule_error("each objective once", repr(names), path="objective")
        if not self.metrics:
            remedy = "add one of " + ", ".join(f"`{m}`" for m in selectable_metrics())
            raise rule_error("at least one objective is a metric", repr(names), path="objective", remedy=remedy)
        for path in self.group_paths:
            values = self.space[path].ends().values()
            if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
                remedy = "leave it in the space and take it out of the objectives"
                raise rule_error(
                    "a searched objective is a number", _describe(self.space[path]), path=f"space.{path}", remedy=remedy
                )
            if isinstance(self.space[path], FloatDistribution):
                remedy = "make it categorical or int, so that trials can be compared within a group"
                raise rule_error(
                    "a searched objective has groups", "a float distribution", path=f"space.{path}", remedy=remedy
                )

    def _check_metric(self, metric: str, place: str) -> None:
        """Checks that a metric other than those of validation is registered and has what it requires."""
        if metric.startswith(("test/", "oracle/")):
            remedy = "select by validation: " + ", ".join(f"`{m}`" for m in selectable_metrics())
            raise rule_error("selection never sees test or oracle metrics", repr(metric), path=place, remedy=remedy)
        validators = registry_of("objective.metric")
        if metric not in validators:
            remedy = nearest(metric, [*selectable_metrics(), *self.space])
            raise rule_error("an objective is a metric or a searched path", repr(metric), path=place, remedy=remedy)
        if "target" in validators.find(metric).requires and self.base.data.target is None:
            remedy = "give base.data.target, or select by `val/accuracy`"
            raise rule_error("a metric of the target needs a target", repr(metric), path=place, remedy=remedy)
        for path in sorted(validators.find(metric).moved_by & self.space.keys()):
            rule = "a metric that selects is not moved by what is searched, whether or not predictions are better,"
            remedy = f"select by another metric, or take `{path}` out of the space"
            raise rule_error(rule, f"{metric!r} with space.{path}", path=place, remedy=remedy)

    @property
    def metrics(self) -> tuple[Objective, ...]:
        """The objectives that are measured."""
        return tuple(objective for objective in self.objective if objective.metric not in self.space)

    @property
    def primary(self) -> Objective:
        """The objective that decides early stopping and finalists."""
        return self.metrics[0]

    @property
    def finalist_seeds(self) -> range:
        """Seeds of the finalists: those that follow the base's own, on which the best parameters are chosen."""
        return range(self.base.seed + 1, self.base.seed + 1 + self.num_seeds)

    @property
    def group_paths(self) -> tuple[str, ...]:
        """Searched paths that are objectives themselves; trials are compared only if they agree on all of these."""
        return tuple(objective.metric for objective in self.objective if objective.metric in self.space)

    @property
    def varied_paths(self) -> tuple[str, ...]:
        """Paths of the parameters in which the study's runs differ, the seed aside."""
        return tuple(dict.fromkeys((*self.space, *self.baseline)))

    def group(self, overrides: Mapping[str, Leaf]) -> tuple[Leaf, ...]:
        """Returns the group of a trial with these overrides: its values at `group_paths`, the empty tuple if none."""
        return tuple(overrides[path] for path in self.group_paths)

    def identity(self) -> str:
        """Returns a hash of everything that results depend on: not of the name, budget, number of seeds, scaling
        section and trackers, nor of the leaves in `FREE_TO_CHANGE`. A leaf of the base with its default value, and a
        single candidate, add nothing, so that a study does not change its identity where a new key is introduced.
        """
        left_out = {"budget", "num_seeds", "name", "scaling", "tracking", "base"}
        tree = self.model_dump(
            mode="json", exclude=left_out if self.num_candidates > 1 else {*left_out, "num_candidates"}
        )
        given = flatten(self.base.model_dump(mode="json", exclude_defaults=True))
        names = {path: value for path, value in self.base.leaves().items() if path.endswith(".name")}
        tree["base"] = {path: value for path, value in ({**names, **dict(given)}).items() if path not in FREE_TO_CHANGE}
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _is_leaf(path: str) -> bool:
    return not is_option(path)


def _check_varied(path: str, known: Collection[str], place: str) -> None:
    if path not in known:
        raise rule_error("a varied path is a leaf of base", repr(path), path=place, remedy=nearest(path, known))
    reason = why_fixed(path)
    if reason is not None:
        raise rule_error(f"`{path}` is not varied", repr(path), path=place, remedy=reason)


def _check_fits(base: Config, path: str, value: Leaf, place: str) -> None:
    try:
        base.replace({path: value})
    except ValidationError as error:
        first = error.errors()[0]
        context = first.get("ctx", {})
        rule = (
            str(context["rule"])
            if first["type"] == "rule"
            else first["msg"].replace("Input should be", "a value that is")
        )
        raise rule_error(rule, repr(value), path=place, remedy=str(context.get("remedy", ""))) from error


def _describe(distribution: FloatDistribution | IntDistribution | CategoricalDistribution) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in distribution.ends().items())
