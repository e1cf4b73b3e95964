"""A study: one complete base configuration and, optionally, what to search and how.

This is the schema of study files. `supercm_ray.config` reads and checks them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from supercm_ray.config.distributions import CategoricalDistribution, Distribution, FloatDistribution, IntDistribution
from supercm_ray.config.registry import (
    Frozen,
    OptionsModel,
    check_name,
    find_options,
    registry_of,
    rule_error,
    schema_of_options,
)
from supercm_ray.config.run import FREE_TO_CHANGE, Config, Leaf, is_option
from supercm_ray.config.scaling import ScalingConfig
from supercm_ray.errors import nearest

_VARIED_DATA = ("label_ratio", "labels_per_class", "shift_pixels", "flip", "noise_std", "cutout_fraction", "strength")


def why_fixed(path: str) -> str | None:
    """Why neither the space nor the baseline may vary this leaf of `base`, or None where they may."""
    section, _, name = path.partition(".")
    if section == "seed":
        return "a setting must not be chosen by its luck"
    if section == "plugins":
        return "all trials share one program"
    if section == "data" and name not in _VARIED_DATA:
        return "all trials share one data set, one validation and one test split"
    if path == "training.num_epochs":
        return "all trials share one budget"
    return None


_VAL_METRICS = ("val/accuracy", "val/loss")


def selectable_metrics() -> tuple[str, ...]:
    """What a trial may be selected by: validation metrics and the registered validators. Test and oracle metrics never
    are.
    """
    return (*_VAL_METRICS, *registry_of("objective.metric").names())


class Objective(Frozen):
    """What the study wants more or less of: a validation metric, or a searched path such as the label ratio."""

    metric: str
    """One of the selectable metrics, or the dotted path of a searched value."""
    direction: Literal["maximize", "minimize"]


class Budget(Frozen):
    """How much may be spent, and on what."""

    num_trials: int = Field(20, ge=1)
    """Trials of the search, those stopped early and failed included."""
    max_concurrent_trials: int | None = Field(None, ge=1)
    """Trials at once; by default as many as the cluster has room for."""
    num_workers: int | tuple[int, int] = 1
    """Workers that share every batch of a run, `train`'s or a trial's. A pair is elastic: between so many and so many,
    as the cluster has room."""
    cpus_per_worker: int = Field(1, ge=1)
    """CPU cores reserved for each worker."""
    gpus_per_worker: float = Field(0.0, ge=0)
    """GPUs reserved for each worker; a fraction, which a single worker may ask for, shares one with other trials,
    without isolating its memory."""
    max_failures: int = Field(3, ge=0)
    """Failures of a run's workers, without an epoch done in between, after which it is given up."""

    @model_validator(mode="after")
    def _check(self) -> Budget:
        least, most = self.worker_range
        if not 1 <= least <= most:
            raise rule_error("`1 <= least <= most` workers", f"num_workers={self.num_workers}", path="num_workers")
        if most > 1 and self.gpus_per_worker not in (0, 1):
            got = f"gpus_per_worker={self.gpus_per_worker:g} with num_workers={self.num_workers}"
            raise rule_error(
                "no GPU or one for each of several workers", got, path="gpus_per_worker", remedy="take 0 or 1"
            )
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """The least and the most workers of a run."""
        return self.num_workers if isinstance(self.num_workers, tuple) else (self.num_workers, self.num_workers)


class Sampler(Frozen):
    """Who proposes parameters: an Optuna sampler."""

    name: str = "tpe"
    """The sampler, by its registered name."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """The sampler's own options."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides what it draws."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name("sampler.name", name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options("sampler.name", info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options("sampler.name", cls.model_fields["name"].default, schema, handler)


class Scheduler(Frozen):
    """Who stops trials early, on epochs, among the trials of the same group."""

    name: str = "asha"
    """The stopping rule, by its registered name; `none` stops no trial."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """The rule's own options."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name("scheduler.name", name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options("scheduler.name", info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options("scheduler.name", cls.model_fields["name"].default, schema, handler)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, Mapping) else value


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Study(Frozen):
    """The whole of a study file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Names the results folder and the trackers' parent run; by default the file's name."""
    base: Config
    """The configuration that `train` runs and that trials vary."""
    space: dict[str, Distribution] = Field(default_factory=dict)
    """What to search: dotted path of a leaf of `base` to distribution."""
    objective: Annotated[
        tuple[Objective, ...], BeforeValidator(_as_list, json_schema_input_type=Objective | tuple[Objective, ...])
    ] = Field((Objective(metric="val/accuracy", direction="maximize"),), min_length=1, strict=False)
    """One or several. The first that is a metric decides early stopping and finalists."""
    budget: Budget = Budget()
    sampler: Sampler = Field(default_factory=Sampler)
    scheduler: Scheduler = Field(default_factory=Scheduler)
    enqueued_trials: tuple[dict[str, bool | int | float | str], ...] = ()
    """Known good settings, tried first; what a point omits is sampled."""
    baseline: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Overrides of the best setting that make the arm to compare it with."""
    num_seeds: int = Field(3, ge=1)
    """Fresh seeds on which the best setting of each group and its baseline are run at the end."""
    scaling: ScalingConfig | None = None
    """What `scale` measures; `train` and `tune` do not read it."""
    tracking: Annotated[tuple[str, ...], BeforeValidator(_as_names, json_schema_input_type=str | tuple[str, ...])] = (
        Field(("mlflow",), strict=False)
    )
    """Tools that are kept up to date with the records: `mlflow`, `tensorboard`, `none`, a plug-in's, or several. The
    environment variable SUPERCM_TRACKING, with commas, takes its place."""

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The file it was read from, for messages; its name where there is none."""
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
        """The configurations that a varied path is tried in: the base, or for an option the base with each name that
        its owner may have, all of which must have the option.
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
        """The names that a registered thing may have where an option of it is set."""
        searched = self.space.get(name_path)
        names = [self.base.leaves()[name_path]] if searched is None else list(searched.ends().values())
        compared: list[Leaf] = [self.baseline[name_path]] if name_path in self.baseline else []
        return compared if compared and place.startswith("baseline.") else [*names, *compared]

    def _check_enqueued_trials(self) -> None:
        for i, point in enumerate(self.enqueued_trials):
            for path, value in point.items():
                place = f"enqueued_trials[{i}].{path}"
                if path not in self.space:
                    raise rule_error(
                        "a point sets searched paths only", repr(value), path=place, remedy=nearest(path, self.space)
                    )
                if not self.space[path].contains(value):
                    got = f"{value!r}, with {_describe(self.space[path])}"
                    raise rule_error(
                        "a point lies inside the space", got, path=place, remedy="widen the space or move the point"
                    )

    def _check_batches(self) -> None:
        """Every number of workers that may come about must share every batch evenly."""
        least, most = self.budget.worker_range
        for name in ("labeled_batch_size", "unlabeled_batch_size"):
            path = f"training.{name}"
            sizes = {f"base.{path}": getattr(self.base.training, name)}
            if path in self.space and most > 1:
                distribution = self.space[path]
                sizes = {f"space.{path}.{key}": value for key, value in distribution.ends().items()}
                sizes |= {f"space.{path}.step": distribution.step} if isinstance(distribution, IntDistribution) else {}
            unit = math.lcm(*range(least, most + 1))
            for place, size in sizes.items():
                if size % unit:
                    got = f"{size} samples for {least if least == most else f'{least} to {most}'} workers"
                    remedy = f"take a multiple of {unit}, or other workers"
                    raise rule_error("workers share each batch evenly", got, path=place, remedy=remedy)

    def _check_objectives(self) -> None:
        for i, objective in enumerate(self.objective):
            if objective.metric not in (*_VAL_METRICS, *self.space):
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
        """Sees that a metric beside those of validation is registered, and has what it requires."""
        if metric.startswith(("test/", "oracle/")):
            remedy = "select by validation: " + ", ".join(f"`{m}`" for m in selectable_metrics())
            raise rule_error("selection never sees test or oracle figures", repr(metric), path=place, remedy=remedy)
        validators = registry_of("objective.metric")
        if metric not in validators:
            remedy = nearest(metric, [*selectable_metrics(), *self.space])
            raise rule_error("an objective is a metric or a searched path", repr(metric), path=place, remedy=remedy)
        if "target" in validators.find(metric).requires and self.base.data.target is None:
            remedy = "give base.data.target, or select by `val/accuracy`"
            raise rule_error("a figure of the target needs a target", repr(metric), path=place, remedy=remedy)

    @property
    def metrics(self) -> tuple[Objective, ...]:
        """The objectives that are measured."""
        return tuple(objective for objective in self.objective if objective.metric not in self.space)

    @property
    def primary(self) -> Objective:
        """The objective that decides early stopping and finalists."""
        return self.metrics[0]

    @property
    def group_paths(self) -> tuple[str, ...]:
        """Searched paths that are objectives themselves: trials are compared only within one group of each."""
        return tuple(objective.metric for objective in self.objective if objective.metric in self.space)

    def group(self, overrides: Mapping[str, Leaf]) -> tuple[Leaf, ...]:
        """The group of a setting, the empty tuple where the study has no group path."""
        return tuple(overrides[path] for path in self.group_paths)

    def identity(self) -> str:
        """A hash of all that a result depends on. The budget, the number of seeds, the name, the scaling section, the
        trackers, and where and how a run is trained and kept may change.
        """
        tree = self.model_dump(mode="json", exclude={"budget", "num_seeds", "name", "scaling", "tracking"})
        tree["base"] = {path: value for path, value in self.base.leaves().items() if path not in FREE_TO_CHANGE}
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
