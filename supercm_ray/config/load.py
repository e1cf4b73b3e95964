"""Reading and checking study files, with one clear error for each broken rule."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supercm_ray.config.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from supercm_ray.config.overrides import Override, apply_overrides, inner_model, training_part
from supercm_ray.config.run import Tree, set_leaves, to_json
from supercm_ray.config.study import LONGEST_NAME, NAME, Study
from supercm_ray.config.yaml_text import read_yaml, shorten
from supercm_ray.credentials import without_credentials
from supercm_ray.errors import StudyError, nearest

logger = logging.getLogger(__name__)
_MOST_LINES = 20

_MODELS_BY_TYPE: dict[str, type[BaseModel]] = {
    "float": FloatDistribution,
    "int": IntDistribution,
    "categorical": CategoricalDistribution,
}


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Reads a study file and checks everything that can be checked without data or a cluster.

    Args:
        path: a YAML file.
        overrides: `key=value` pairs. A key is a leaf of `base` (`algorithm.temperature`), which is then no longer
            searched, or of the study (`budget.num_trials`), or the place of a distribution or of one of its keys
            (`space.algorithm.temperature`), null to remove it; a value is YAML.

    Raises:
        StudyError: for anything wrong, each broken rule on a line of its own.
    """
    study, notes = _load(Path(path), overrides, searching=True)
    for note in notes:
        logger.warning("%s", note)
    return study


def load_for_training(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Reads a study file whose base alone is to be trained: keys that an override sets stay searched, and if what only
    a search uses breaks a rule, it is left out with a warning.

    Args:
        path: a YAML file.
        overrides: as for `load_study`.

    Raises:
        StudyError: for anything wrong with what training uses, each broken rule on a line of its own.
    """
    try:
        return _load(Path(path), overrides, searching=False)[0]
    except StudyError as error:
        used = [override for override in overrides if not Override.parse(override).is_search_only]
        study, _ = _load(Path(path), used, searching=False, part=training_part)
        reason = str(error).splitlines()[0]
        logger.warning("only the base is trained, and what a search would refuse is left out: %s", reason)
        return study


def _load(
    path: Path, given: Sequence[str], *, searching: bool, part: Callable[[Tree], Tree] = dict
) -> tuple[Study, list[str]]:
    """Reads a study file and changes it by overrides.

    Args:
        path: a YAML file.
        given: `key=value` pairs.
        searching: whether a key of the base that an override sets is no longer searched.
        part: returns the part of a file that is used; by default all of it.

    Returns:
        The study, and sentences about what overrides changed besides.
    """
    tree = part(read_yaml(path))
    overrides = [Override.parse(text) for text in given]
    names = [override.value for override in overrides if override.key == "name"]
    tree["name"] = names[-1] if names else tree.get("name") or _name_of(path)
    study = _validate(tree, path.name)
    if not overrides:
        return study, []
    tree = json.loads(study.model_dump_json())
    notes = apply_overrides(tree, overrides, path.name, searching=searching)
    return _validate(part(tree), f"{path.name} with {shorten(' '.join(given))}"), notes


def _name_of(path: Path) -> str:
    """Returns the study's name that a file's name gives."""
    if re.fullmatch(NAME, path.stem) is None or len(path.stem) > LONGEST_NAME:
        suggested = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9_.-]+", "-", path.stem).strip("-")[:LONGEST_NAME] or "study"
        raise StudyError(
            f"a study's name must be up to {LONGEST_NAME} letters, digits, `_`, `.` and `-`, the first a letter or "
            f"digit, got {path.stem!r} from the name of the file {path.name}; give it the key `name`, such as "
            f"`name: {suggested}`"
        )
    return path.stem


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


def _validate(tree: Tree, file: str) -> Study:
    try:
        study = Study.model_validate_json(to_json(tree))
    except ValidationError as error:
        raise StudyError("\n".join(_messages(error.errors(include_url=False), tree, file))) from error
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
        if len(lines) == _MOST_LINES:
            return [*lines, f"and more broken rules in {file}"]
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
            model = inner_model(model, part) or model
    return place, model, value


def _show(value: object) -> str:
    text = without_credentials(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
