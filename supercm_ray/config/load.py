"""Reading and checking study files, with one clear error for each broken rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supercm_ray.config.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from supercm_ray.config.run import Config, Tree, flatten, is_option, set_leaf, set_leaves, to_json
from supercm_ray.config.study import Study
from supercm_ray.errors import StudyError, nearest

_MODELS_BY_TYPE: dict[str, type[BaseModel]] = {
    "float": FloatDistribution,
    "int": IntDistribution,
    "categorical": CategoricalDistribution,
}


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-3` as a number, `on` and a date as text, and refuses a key given twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML defines it as a plain mapping)
        first: [
            (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float", ":int", ":bool"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                problem = f"the key `{key}` is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Reads a whole number as decimal: `010` is ten. (`1:30` does not match and is text.)"""
    return int(str(loader.construct_scalar(node)))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), list("-+0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Reads a study file and checks everything that can be checked without data or a cluster.

    Args:
        path: a YAML file.
        overrides: `key=value` pairs. A key is a leaf of `base` (`algorithm.temperature`) or of the study
            (`budget.num_trials`); a value is YAML.

    Raises:
        StudyError: for anything wrong, each broken rule on a line of its own.
    """
    path = Path(path)
    tree = _read(path)
    tree.setdefault("name", path.stem)
    study = _validate(tree, path.name)
    if not overrides:
        return study
    tree = json.loads(study.model_dump_json())
    for override in sorted(overrides, key=lambda override: is_option(override.partition("=")[0])):
        _override(tree, override, path.name)
    return _validate(tree, f"{path.name} with {' '.join(overrides)}")


def change_study(study: Study, values: Mapping[str, object], by: str) -> Study:
    """Returns a copy with the leaves at these dotted paths (`base.seed`, `budget.num_trials`) set, checked again.

    Args:
        study: the study to copy.
        values: the new values by dotted path.
        by: where the values come from, for messages, such as `num_workers=4`.

    Raises:
        StudyError: for a value that breaks a rule, each broken rule on a line of its own.
    """
    tree = json.loads(study.model_dump_json())
    set_leaves(tree, values)
    return _validate(tree, f"{study.source} with {by}")


def on_workers(study: Study, num_workers: int | tuple[int, int] | None, use_gpu: bool) -> Study:
    """Returns the study with this number of workers per run, and with a GPU for each if `use_gpu`.

    Args:
        study: the study to copy.
        num_workers: a number, a (minimum, maximum) pair, or None to keep the study's own.
        use_gpu: whether each worker gets a GPU.

    Raises:
        StudyError: if the workers cannot share its batches evenly.
    """
    values: dict[str, object] = {} if num_workers is None else {"budget.num_workers": num_workers}
    if use_gpu:
        values |= {"base.training.device": "cuda", "budget.gpus_per_worker": 1}
    return change_study(study, values, f"num_workers={num_workers}, use_gpu={use_gpu}") if values else study


def _read(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"cannot read the study file {path}: {reason}; give the path of a YAML file") from error
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise StudyError(f"not valid YAML in {path.name}{place}: {problem}") from error
    if not isinstance(tree, dict):
        got = "an empty file" if tree is None else type(tree).__name__
        raise StudyError(f"a mapping with the key `base` must stand in {path.name}, got {got}")
    return {str(key): value for key, value in tree.items()}


def _override(tree: Tree, override: str, file: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise StudyError(f"an override must be `key=value`, got {override!r}")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"the value of an override must be YAML, got {override!r}") from error
    target = f"base.{key}" if key.split(".")[0] in Config.model_fields else key
    section = _open_section(tree, target)
    try:
        set_leaf(tree, target, value)
    except (KeyError, TypeError) as error:
        fixed = {"space", "enqueued_trials", "baseline", "objective"}
        known = [name.removeprefix("base.") for name, _ in flatten(tree) if name.split(".")[0] not in fixed]
        known += section
        raise StudyError(
            f"unknown key `{key}` on the command line for {file}, got {text!r}; {nearest(key, known)}"
        ) from error


def _open_section(tree: Tree, path: str) -> list[str]:
    """Adds the optional section that a path leads into, such as `scaling`, if the study has none, and a place for the
    leaf. Returns the paths of the fields that the section does not set yet.
    """
    model: type[BaseModel] = Study
    *parents, last = path.split(".")
    for name in parents:
        inner = _inner_model(model, name) if name in model.model_fields else None
        if inner is None:
            return []
        if tree.get(name) is None:
            tree[name] = {}
        tree, model = tree[name], inner
    free = [".".join([*parents, name]) for name in model.model_fields if name not in tree]
    if last in model.model_fields:
        tree.setdefault(last, None)
    return free


def _validate(tree: Tree, file: str) -> Study:
    try:
        study = Study.model_validate_json(to_json(tree))
    except ValidationError as error:
        raise StudyError("\n".join(_messages(error.errors(), tree, file))) from error
    except StudyError as error:
        raise StudyError(f"{error} (in {file})") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(f"plain values must stand in {file}, got {error}") from error
    study._source = file
    return study


_PLAIN_TYPES = ("bool", "int", "float", "str")
"""Last parts of the locations that pydantic reports for the members of a union of plain values."""


def _messages(details: Sequence[ErrorDetails], tree: Mapping[str, object], file: str) -> list[str]:
    """Returns one message for each broken rule, not one for each member of a union or for consequences of another."""
    unions = {detail["loc"][:-1] for detail in details if detail["loc"][-1:] == ("bool",)}
    lines: dict[str, None] = {}
    for detail in details:
        loc = detail["loc"]
        if loc[:-1] in unions and loc[-1] in _PLAIN_TYPES:
            place, _, value = _locate(loc[:-1], tree)
            lines[f"`{place}` must be a boolean, a number or a text in {file}, got {_show(value)}"] = None
        elif not _follows(loc, detail["type"], details):
            lines[_message(detail, tree, file)] = None
    return list(lines)


def _follows(loc: tuple[int | str, ...], kind: str, details: Sequence[ErrorDetails]) -> bool:
    """Returns whether a list counts as too short only because its items are invalid, which have their own messages."""
    return kind == "too_short" and any(len(d["loc"]) > len(loc) and d["loc"][: len(loc)] == loc for d in details)


def _message(detail: ErrorDetails, tree: Mapping[str, object], file: str) -> str:
    place, model, value = _locate(detail["loc"], tree)
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "extra_forbidden":
        name = str(detail["loc"][-1])
        return f"unknown key `{place}` in {file}, got {_show(value)}; {nearest(name, model.model_fields)}"
    if kind == "missing":
        return f"the key `{place}` must stand in {file}, got nothing; {_remedy(model, detail)}"
    if kind == "rule":
        place = ".".join(part for part in (place, context["path"]) if part)
        remedy = f"; {context['remedy']}" if context["remedy"] else ""
        return f"{context['rule']} must hold for {place or 'the study'} in {file}, got {context['got']}{remedy}"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        tag = value.get("type") if isinstance(value, Mapping) else value
        remedy = nearest(str(tag), _MODELS_BY_TYPE)
        return f"`type` must be one of float, int, categorical for {place} in {file}, got {_show(tag)}; {remedy}"
    if kind == "json_invalid":
        return f"all text must be valid Unicode in {file}, got a lone surrogate such as \\ud800; remove it"
    rule = re.sub(r"^\w+ should ", "", detail["msg"])
    return f"`{place or 'the study'}` must {rule} in {file}, got {_show(value)}"


def _remedy(model: type[BaseModel], detail: ErrorDetails) -> str:
    field = model.model_fields.get(str(detail["loc"][-1]))
    return " ".join(f"add it: {field.description}".split()) if field and field.description else "add it"


def _locate(loc: tuple[int | str, ...], tree: object) -> tuple[str, type[BaseModel], object]:
    """Returns the dotted place of a pydantic error, the model that owns its last key, and the value there."""
    place, value = "", tree
    model: type[BaseModel] = Study
    for i, part in enumerate(loc):
        found = isinstance(value, Mapping) and part in value
        if isinstance(part, int):
            place, value = f"{place}[{part}]", value[part] if isinstance(value, list) else value
        elif found or i == len(loc) - 1:
            if part in _MODELS_BY_TYPE and not found:
                model = _MODELS_BY_TYPE[part]
                continue
            place = f"{place}.{part}" if place else part
            value = value[part] if found and isinstance(value, Mapping) else None
        elif part in _MODELS_BY_TYPE:
            model = _MODELS_BY_TYPE[part]
        if i < len(loc) - 1 and isinstance(part, str) and part in model.model_fields:
            model = _inner_model(model, part) or model
    return place, model, value


def _inner_model(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = model.model_fields[name].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
