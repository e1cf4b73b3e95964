"""Overrides of a study file, such as those given on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel

from supercm_ray.config.run import Config, Tree, flatten, is_option, set_leaf
from supercm_ray.config.study import Study
from supercm_ray.config.yaml_text import parse_yaml, shorten
from supercm_ray.errors import StudyError, nearest

_SPACE = "space."
_SEARCH_ONLY = (
    "space",
    "enqueued_trials",
    "baseline",
    "sampler",
    "scheduler",
    "num_seeds",
    "num_candidates",
    "scaling",
)
_SEARCH_ONLY_BUDGET = ("num_trials", "max_concurrent_trials")


@dataclass(frozen=True)
class Override:
    """A new value of one key.

    Attributes:
        key: the dotted path as it was given.
        value: the value.
        text: the value as it was given.
    """

    key: str
    value: object
    text: str

    @classmethod
    def parse(cls, given: str) -> Override:
        """Parses `key=value`, whose value is YAML.

        Raises:
            StudyError: for anything else.
        """
        key, separator, text = given.partition("=")
        if not separator or not key:
            raise StudyError(f"an override must be `key=value`, got {shorten(given)!r}")
        try:
            return cls(key, parse_yaml(text), text)
        except ValueError as error:
            raise StudyError(f"the value of an override must be YAML, got {shorten(given)!r}: {error}") from error

    @property
    def target(self) -> str:
        """The dotted path in the study file, such as `base.algorithm.temperature`."""
        return f"base.{self.key}" if self.key.split(".")[0] in Config.model_fields else self.key

    @property
    def is_search_only(self) -> bool:
        """Whether only a search uses the key."""
        first, _, rest = self.key.partition(".")
        return first in _SEARCH_ONLY or (first == "budget" and rest in _SEARCH_ONLY_BUDGET)

    def unknown(self, known: Sequence[str], file: str) -> StudyError:
        """Returns the error of a key that does not exist."""
        return StudyError(
            f"unknown key `{shorten(self.key)}` on the command line for {file}, got {shorten(self.text)!r}; "
            f"{nearest(self.key, known)}"
        )


def apply_overrides(tree: Tree, overrides: Sequence[Override], file: str, *, searching: bool) -> list[str]:
    """Changes a study by overrides: the space first, then names, then options of what they name.

    Args:
        tree: the whole study as plain values, defaults filled in.
        overrides: the new values.
        file: the study file's name, for messages.
        searching: whether a key of the base that an override sets is no longer searched, unless another override gives
            it a distribution.

    Returns:
        A sentence for each key that is no longer searched.

    Raises:
        StudyError: for a key that does not exist.
    """
    of_space = [override for override in overrides if override.key.startswith(_SPACE)]
    others = [override for override in overrides if override not in of_space]
    notes = [note for override in of_space for note in _change_space(tree, override, file)]
    for override in sorted(others, key=lambda override: is_option(override.key)):
        _set(tree, override, file)
        asked_for = any(one.key.startswith(f"{_SPACE}{override.key}") for one in of_space)
        if searching and override.key in tree["space"] and not asked_for:
            notes.append(_no_longer_searched(tree, override.key, f"is fixed at {shorten(override.text)}"))
    return notes


def training_part(tree: Tree) -> Tree:
    """Returns the part of a study file that training its base alone uses."""
    space, budget, objectives = tree.get("space"), tree.get("budget"), tree.get("objective")
    kept = {key: value for key, value in tree.items() if key not in _SEARCH_ONLY}
    if isinstance(budget, Mapping):
        kept["budget"] = {key: value for key, value in budget.items() if key not in _SEARCH_ONLY_BUDGET}
    if isinstance(objectives, list) and isinstance(space, Mapping):
        measured = [one for one in objectives if not isinstance(one, Mapping) or one.get("metric") not in space]
        kept = {**kept, "objective": measured}
        if not measured:
            del kept["objective"]
    return kept


def inner_model(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Returns the model of the section that a field holds, or None if it holds none."""
    annotation = model.model_fields[name].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _set(tree: Tree, override: Override, file: str) -> None:
    section = _open_section(tree, override.target)
    try:
        set_leaf(tree, override.target, override.value)
    except (KeyError, TypeError) as error:
        fixed = {"space", "enqueued_trials", "baseline", "objective"}
        known = [name.removeprefix("base.") for name, _ in flatten(tree) if name.split(".")[0] not in fixed]
        raise override.unknown([*known, *section], file) from error


def _change_space(tree: Tree, override: Override, file: str) -> list[str]:
    """Adds, replaces or removes a distribution, or sets one of its keys."""
    space, path = tree["space"], override.key.removeprefix(_SPACE)
    parent, _, last = path.rpartition(".")
    if path in space and override.value is None:
        return [_no_longer_searched(tree, path, "keeps the value of `base`")]
    if path in space or isinstance(override.value, Mapping):
        space[path] = override.value
    elif parent in space and isinstance(space[parent], dict):
        space[parent][last] = override.value
    else:
        raise override.unknown([f"{_SPACE}{name}" for name in space], file)
    return []


def _no_longer_searched(tree: Tree, path: str, instead: str) -> str:
    """Drops a path from the space, from enqueued trials and from the objectives, and returns a sentence about it."""
    del tree["space"][path]
    trials, objectives = tree["enqueued_trials"], tree["objective"]
    tree["enqueued_trials"] = [{key: value for key, value in trial.items() if key != path} for trial in trials]
    tree["objective"] = [one for one in objectives if one["metric"] != path]
    also = ["enqueued_trials"] if tree["enqueued_trials"] != trials else []
    also += ["objective"] if len(tree["objective"]) != len(objectives) else []
    return f"`{path}` {instead} and no longer searched" + (f"; it is left out of {' and '.join(also)}" if also else "")


def _open_section(tree: Tree, path: str) -> list[str]:
    """Adds the optional section that a path leads into, such as `scaling`, if the study has none, and a place for the
    leaf. Returns the paths of the fields that the section does not set yet.
    """
    model: type[BaseModel] = Study
    *parents, last = path.split(".")
    for name in parents:
        inner = inner_model(model, name) if name in model.model_fields else None
        if inner is None:
            return []
        if tree.get(name) is None:
            tree[name] = {}
        tree, model = tree[name], inner
    free = [".".join([*parents, name]) for name in model.model_fields if name not in tree]
    if last in model.model_fields:
        tree.setdefault(last, None)
    return free
