"""Reading YAML of any origin within limits: plain values alone, and refused quickly if it is not that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import StudyError

MAX_BYTES = 2**20
"""Largest size of a study file, in bytes."""
MAX_VALUES = 10_000
"""Largest number of values in a study file, each alias counted as what it stands for."""
MAX_DEPTH = 50
"""Largest number of values that are nested in one another."""

_SHOWN = 60


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-3` as a number, `on` and a date as text, and refuses tags, a key given twice, and more
    values than the limits allow.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML defines it as a plain mapping)
        first: [
            (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float", ":int", ":bool"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._count
        if tag := getattr(event, "tag", None):
            shown = shorten(tag.replace("tag:yaml.org,2002:", "!!"))
            raise _problem(f"values have no tags, got `{shown}`; remove it, and put text in quotes", event)
        self._depth, self._count = self._depth + 1, before + 1
        if self._depth > MAX_DEPTH:
            raise _problem(f"more than {MAX_DEPTH} values are nested in one another", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _problem(f"the alias `*{event.anchor}` stands within what it names", event)
            self._count = before + self._sizes[node]
        elif node is not None:
            self._sizes[node] = self._count - before
        if self._count > MAX_VALUES:
            raise _problem(f"more than {MAX_VALUES} values, those that aliases stand for included", event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                problem = f"the key `{shorten(key)}` is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _problem(text: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)  # type: ignore[arg-type]  # of either parser


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


def parse_yaml(text: str) -> object:
    """Returns the value of a YAML text.

    Raises:
        ValueError: for anything else than plain YAML within the limits, with the problem and its place in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        told = [said for name in ("context", "problem") if (said := getattr(error, name, None))]
        raise ValueError(place + (", ".join(told) or str(error) or type(error).__name__).splitlines()[0]) from error


def read_yaml(path: Path) -> dict[str, object]:
    """Returns the mapping in a study file.

    Raises:
        StudyError: for a file that cannot be read, is too large, or holds anything else than a mapping in plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8, or give the path of a YAML file"
        raise StudyError(f"cannot read the study file {path}: it must be UTF-8 text, got {error}; {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"cannot read the study file {path}: {reason}; give the path of a YAML file") from error
    if len(content) > MAX_BYTES:
        raise StudyError(f"a study file must have at most {MAX_BYTES} bytes, got more in {path}; shorten it")
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise StudyError(f"not valid YAML in {path.name}, {error}") from error
    if not isinstance(tree, dict):
        got = "an empty file" if tree is None else type(tree).__name__
        raise StudyError(f"a mapping with the key `base` must stand in {path.name}, got {got}")
    return {str(key): value for key, value in tree.items()}


def shorten(text: str) -> str:
    """Returns a text as a message quotes it, without credentials and cut off if it is long."""
    text = without_credentials(text)  # before it is cut off, while they can be told
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
