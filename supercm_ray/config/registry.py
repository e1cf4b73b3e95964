"""Registries: what a study file may name, and the options that each named thing owns.

An algorithm, backbone, data set, sampler, scheduler, validator or executor is registered beside its code:

    class Options(OptionsModel):
        threshold: float = Field(0.95, ge=0, le=1)
        \"\"\"Probability from which a prediction is taken for a label.\"\"\"

    @ALGORITHMS.register("fixmatch", options=Options, requires={"two_views"})
    def fixmatch(step: Step) -> Terms: ...

A registry imports the room that registers the built-in names when it is first asked for one, so that the configuration
needs to know none of them.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from supercm_ray.errors import StudyError, nearest

Direction: TypeAlias = Literal["maximize", "minimize"]
T = TypeVar("T")
F = TypeVar("F")


class Frozen(BaseModel):
    """Immutable, strict about types, and closed to unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class OptionsModel(Frozen):
    """Base class of the options of a registered algorithm, backbone, data set, sampler and so on. It has no options."""

    def check(self, study: Frozen) -> None:
        """Raises `rule_error` if these options conflict with the rest of the study; no-op by default."""


def rule_error(rule: str, got: str, *, path: str = "", remedy: str = "") -> PydanticCustomError:
    """Returns the error for a broken rule.

    Args:
        rule: what must hold.
        got: what was given.
        path: dotted path of the value, relative to the model that raises.
        remedy: what the user can do.
    """
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "got": got, "path": path, "remedy": remedy})


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One entry of a registry.

    Attributes:
        name: the name that study files use.
        make: the function or class that is registered.
        options: the model of its options.
        requires: what it requires of a configuration, such as `target`.
        direction: for a metric, whether a larger value is better, `maximize`, or a smaller one.
        moved_by: for a metric, dotted paths that move it whether or not predictions become better; where one of them is
            searched, the metric must not select.
    """

    name: str
    make: T
    options: type[OptionsModel]
    requires: frozenset[str]
    direction: Direction = "maximize"
    moved_by: frozenset[str] = frozenset()


class Registry(Generic[T]):
    """What is registered of one kind, such as algorithms, by name."""

    def __init__(self, kind: str, path: str, home: str, *, late: Callable[[str], None] | None = None) -> None:
        """Creates an empty registry.

        Args:
            kind: the kind of its entries, for messages, such as `algorithm`.
            path: the dotted path that names an entry in a study file, such as `algorithm.name`.
            home: the package that registers the built-in entries when it is imported.
            late: registers names that take long to find, such as those of another library. It is called with each name
                that is looked up and not registered.
        """
        self.kind, self._path, self._home, self._late = kind, path, home, late
        self._entries: dict[str, Entry[T]] = {}
        REGISTRIES[path] = self  # type: ignore[assignment]  # of any kind of thing

    def register(
        self,
        name: str,
        *,
        options: type[OptionsModel] = OptionsModel,
        requires: Collection[str] = (),
        direction: Direction = "maximize",
        moved_by: Collection[str] = (),
    ) -> Callable[[F], F]:
        """Returns a decorator that registers a function or class under this name, replacing an earlier one."""

        def keep(made: F) -> F:
            self.add(
                name,
                made,  # type: ignore[arg-type]
                options=options,
                requires=requires,
                direction=direction,
                moved_by=moved_by,
            )
            return made

        return keep

    def add(
        self,
        name: str,
        made: T,
        *,
        options: type[OptionsModel] = OptionsModel,
        requires: Collection[str] = (),
        direction: Direction = "maximize",
        moved_by: Collection[str] = (),
    ) -> None:
        """Registers `made` under this name, replacing an earlier entry."""
        self._entries[name] = Entry(name, made, options, frozenset(requires), direction, frozenset(moved_by))

    def remove(self, name: str) -> None:
        """Removes a name, such as one that a test has registered. No-op if it is not registered."""
        self._entries.pop(name, None)

    def find(self, name: str) -> Entry[T]:
        """Returns the entry with this name.

        Raises:
            StudyError: if the name is not registered.
        """
        if name not in self:
            raise StudyError(f"`{self._path}` must be a known {self.kind}, got {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        """Returns whether this name is registered."""
        if name not in self.entries() and self._late is not None:
            self._late(name)
        return name in self._entries

    def names(self) -> list[str]:
        """Returns all registered names in alphabetical order."""
        return sorted(self.entries())

    def entries(self) -> dict[str, Entry[T]]:
        """Returns all entries by name."""
        importlib.import_module(self._home)
        return dict(self._entries)


REGISTRIES: dict[str, Registry[object]] = {}
"""Every registry by the path that names its entries."""

_HOMES = {
    "algorithm.name": "supercm_ray.algorithms",
    "data.name": "supercm_ray.data",
    "data.strong.name": "supercm_ray.data",
    "model.name": "supercm_ray.models",
    "objective.metric": "supercm_ray.training",
    "sampler.name": "supercm_ray.search",
    "scheduler.name": "supercm_ray.runtime.schedulers",
    "training.optimizer.name": "supercm_ray.training",
    "training.schedule.name": "supercm_ray.training",
}
"""The package that holds the registry of a path."""


def registry_of(path: str) -> Registry[object]:
    """Returns the registry whose entries this path of a study file names."""
    importlib.import_module(_HOMES[path])
    return REGISTRIES[path]


def find_options(path: str, name: object, given: object) -> OptionsModel:
    """Returns the options of the entry that this path names, validated, defaults filled in.

    Raises:
        PydanticCustomError: for an unknown name, an unknown option, or a value that breaks a rule.
    """
    registry = registry_of(path)
    if not isinstance(name, str) or name not in registry:
        return OptionsModel()  # the name has an error of its own
    return parse_options(registry.find(name).options, given)


def check_name(path: str, name: str) -> str:
    """Returns the name if it is registered.

    Raises:
        PydanticCustomError: if it is not.
    """
    registry = registry_of(path)
    if name not in registry:
        raise rule_error(f"a known {registry.kind}", repr(name), remedy=nearest(name, registry.names()))
    return name


def schema_of_options(path: str, default: str, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """Returns the JSON Schema of a model with `name` and `options`, in which each name allows its own options.

    Args:
        path: the dotted path that names the entry, such as `algorithm.name`.
        default: the name if a study file gives none.
        schema: the core schema of the model.
        handler: pydantic's function from a core schema to a JSON Schema.
    """
    found = handler.resolve_ref_schema(handler(schema))
    found["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": [] if name == default else ["name"]},
            "then": {"properties": {"options": handler(entry.options.__pydantic_core_schema__)}},
        }
        for name, entry in sorted(registry_of(path).entries().items())
    ]
    return found


def parse_options(model: type[OptionsModel], given: object) -> OptionsModel:
    """Returns options validated by their model, defaults filled in.

    Raises:
        PydanticCustomError: for an option that the model does not know, or a value that breaks a rule.
    """
    if isinstance(given, OptionsModel):
        given = given.model_dump(mode="json")
    try:
        return model.model_validate_json(json.dumps(given))
    except ValidationError as error:
        raise _broken_rule(model, error.errors()[0]) from error


def _broken_rule(model: type[OptionsModel], detail: ErrorDetails) -> PydanticCustomError:
    """Converts pydantic's error about an option to a rule error with place, value and remedy."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])[1:]
    context = detail.get("ctx", {})
    if detail["type"] == "rule":
        inner = ".".join(part for part in (place, context["path"]) if part)
        return rule_error(context["rule"], context["got"], path=inner, remedy=context["remedy"])
    if detail["type"] == "extra_forbidden":
        return rule_error(
            "a known option", repr(detail["input"]), path=place, remedy=nearest(place, model.model_fields)
        )
    if detail["type"] == "missing":
        field = model.model_fields.get(place)
        remedy = f"add it: {field.description}" if field and field.description else "add it"
        return rule_error("a value", "nothing", path=place, remedy=remedy)
    rule = re.sub(r"^\w+ should be ", "a value that is ", detail["msg"])
    return rule_error(re.sub(r"^\w+ should ", "a value to ", rule), repr(detail["input"]), path=place)


class NamedSection(Frozen):
    """A section of a study file that names a registered thing and gives its options."""

    path: ClassVar[str]
    """The dotted path of `name` in a study file, which the registry is known by."""

    name: str
    """Registered name."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """Options of what `name` names; by default those that it declares."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name(cls.path, name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options(cls.path, info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options(cls.path, cls.model_fields["name"].default, schema, handler)
