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
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from supercm_ray.errors import StudyError, nearest

T = TypeVar("T")
F = TypeVar("F")


class Frozen(BaseModel):
    """Immutable, strict about types, and closed to unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class OptionsModel(Frozen):
    """The options of one registered thing; as it stands, none."""

    def check(self, study: Frozen) -> None:
        """Raises `rule_error` where these options do not go with the rest of the study; no-op by default."""


def rule_error(rule: str, got: str, *, path: str = "", remedy: str = "") -> PydanticCustomError:
    """A broken rule between several values; `path` is dotted and relative to the model that raises."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "got": got, "path": path, "remedy": remedy})


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing.

    Attributes:
        name: as study files give it.
        make: what builds or computes it.
        options: the model of its options.
        requires: what it needs of a configuration, by the words that its room knows.
    """

    name: str
    make: T
    options: type[OptionsModel]
    requires: frozenset[str]


class Registry(Generic[T]):
    """Things of one kind by name."""

    def __init__(self, kind: str, path: str, home: str, *, late: Callable[[], None] | None = None) -> None:
        """Makes an empty registry.

        Args:
            kind: what it holds, in words, such as `algorithm`.
            path: the dotted path that names one in a study file, such as `algorithm.name`.
            home: the package that registers the built-in ones when it is imported.
            late: registers names that take long to find, such as those of another library. It is called once, when a
                name is asked for that is not registered.
        """
        self.kind, self._path, self._home, self._late = kind, path, home, late
        self._entries: dict[str, Entry[T]] = {}
        REGISTRIES[path] = self  # type: ignore[assignment]  # of any kind of thing

    def register(
        self, name: str, *, options: type[OptionsModel] = OptionsModel, requires: Collection[str] = ()
    ) -> Callable[[F], F]:
        """Registers what it decorates under this name; a later one of the same name takes its place."""

        def keep(made: F) -> F:
            self.add(name, made, options=options, requires=requires)  # type: ignore[arg-type]
            return made

        return keep

    def add(
        self, name: str, made: T, *, options: type[OptionsModel] = OptionsModel, requires: Collection[str] = ()
    ) -> None:
        """Registers a thing that is not defined where it is registered."""
        self._entries[name] = Entry(name, made, options, frozenset(requires))

    def remove(self, name: str) -> None:
        """Takes a name away, such as that of a test."""
        self._entries.pop(name, None)

    def find(self, name: str) -> Entry[T]:
        """The thing of this name.

        Raises:
            StudyError: for a name that is not registered.
        """
        if name not in self:
            raise StudyError(f"`{self._path}` must be a known {self.kind}, got {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        """Whether this name is registered."""
        if name not in self.entries() and self._late is not None:
            late, self._late = self._late, None
            late()
        return name in self._entries

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(self.entries())

    def entries(self) -> dict[str, Entry[T]]:
        """All that is registered, by name."""
        importlib.import_module(self._home)
        return dict(self._entries)


REGISTRIES: dict[str, Registry[object]] = {}
"""Every registry by the path that names its things."""

_HOMES = {
    "algorithm.name": "supercm_ray.algorithms",
    "data.name": "supercm_ray.data",
    "model.name": "supercm_ray.models",
    "objective.metric": "supercm_ray.training",
    "sampler.name": "supercm_ray.search",
    "scheduler.name": "supercm_ray.runtime.schedulers",
}
"""The package that holds the registry of a path."""


def registry_of(path: str) -> Registry[object]:
    """The registry whose things this path of a study file names."""
    importlib.import_module(_HOMES[path])
    return REGISTRIES[path]


def find_options(path: str, name: object, given: object) -> OptionsModel:
    """The options of the thing that this path names, validated, defaults filled in.

    Raises:
        PydanticCustomError: for an unknown name, an unknown option, or a value that breaks a rule.
    """
    registry = registry_of(path)
    if not isinstance(name, str) or name not in registry:
        return OptionsModel()  # the name has an error of its own
    return parse_options(registry.find(name).options, given)


def check_name(path: str, name: str) -> str:
    """The name, where it is registered.

    Raises:
        PydanticCustomError: where not.
    """
    registry = registry_of(path)
    if name not in registry:
        raise rule_error(f"a known {registry.kind}", repr(name), remedy=nearest(name, registry.names()))
    return name


def schema_of_options(path: str, default: str, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON Schema of a model with `name` and `options`, where each registered name admits its own options.

    Args:
        path: the path that names the thing.
        default: the name where a study file gives none.
        schema: of the model.
        handler: makes the JSON Schema of a model.
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
    """Options validated by their model, defaults filled in.

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
    """What pydantic says of an option, as a rule with its place, the value and the remedy."""
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
        return rule_error("a value", "nothing", path=place, remedy=(field.description if field else None) or "add it")
    rule = re.sub(r"^\w+ should be ", "a value that is ", detail["msg"])
    return rule_error(re.sub(r"^\w+ should ", "a value to ", rule), repr(detail["input"]), path=place)
