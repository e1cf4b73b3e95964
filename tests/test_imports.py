"""The arrows between the rooms of the package go one way. Imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import supercm_ray

ROOT = Path(__file__).parents[1] / "supercm_ray"
MODULES = sorted(path.relative_to(ROOT.parent) for path in ROOT.rglob("*.py"))

FLOORS = [
    {"credentials", "errors", "config", "records"},
    {"core"},
    {"data"},
    {"models"},
    {"algorithms"},
    {"training"},
    {"inference"},
    {"search"},
    {"execution", "reporting"},
    {"runtime", "tracking"},
    {"tuning", "scaling"},
    {"comparing"},
    set(),  # top-level modules that are named nowhere here, such as api
    {"cli", ""},
    {"__main__"},
]
"""From the ground up; "" is the package itself. A room may use what lies on lower floors."""
NEIGHBOURS = (0, 12)
"""Floors whose rooms may use one another."""
LICENSED = {"ray": {"runtime"}, "mlflow": {"tracking"}, "optuna": {"search", "runtime"}}
"""Who may import these."""


def floor(room: str) -> int:
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), 12)


def room_of(module: str) -> str:
    """The room of a dotted module of the package."""
    return module.partition(".")[2].partition(".")[0]


def imported(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """All that a source imports, as dotted names; names taken from the package itself count as its modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level + is_package or None]
                base = ".".join([*parents, base]).rstrip(".")
            yield from (f"{base}.{alias.name}" if base == "supercm_ray" else base for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def breaches(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The imports of a source that break the rules, each with the rule."""
    here, found = room_of(module), []
    for name in imported(source, module, is_package=is_package):
        top = name.partition(".")[0]
        if top in LICENSED and here not in LICENSED[top]:
            found.append(f"{module} imports {name}, which belongs in {sorted(LICENSED[top])}")
        if top == "supercm_ray":
            there = room_of(name)
            if there == here:
                continue
            if here == "core":
                found.append(f"{module} imports {name}, and core/ stands alone")
            elif floor(there) > floor(here) or (floor(there) == floor(here) and floor(here) not in NEIGHBOURS):
                found.append(f"{module} imports {name}, against the arrows")
    return found


def test_the_rooms_exist() -> None:
    rooms = {room_of(".".join(path.with_suffix("").parts)) for path in MODULES}
    assert set.union(*FLOORS) - {""} <= rooms


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_import_runs_against_the_arrows(path: Path) -> None:
    is_package = path.name == "__init__.py"
    module = ".".join((path.parent if is_package else path.with_suffix("")).parts)
    source = (ROOT.parent / path).read_text(encoding="utf-8")
    assert breaches(source, module, is_package=is_package) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("training.loop", "import ray"),
        ("training.loop", "from ray.tune import Tuner"),
        ("training.loop", "def late():\n    from ray import tune"),
        ("api", "import mlflow.pytorch"),
        ("runtime.tune_run", "from mlflow import MlflowClient"),
        ("tuning.report.view", "import optuna"),
        ("core.losses", "from supercm_ray.errors import StudyError"),
        ("core.losses", "from supercm_ray import errors"),
        ("core.losses", "from ..errors import StudyError"),
        ("core.losses", "from .. import errors"),
        ("config", "from supercm_ray.data import Dataset"),
        ("data.splits", "from supercm_ray.training import fit"),
        ("data.splits", "from supercm_ray import training"),
        ("data.splits", "import supercm_ray.training.loop as loop"),
        ("data.splits", "def late():\n    from ..training import fit"),
        ("data.splits", "import importlib\nimportlib.import_module('supercm_ray.training')"),
        ("search.space", "from supercm_ray.execution import Recorder"),
        ("execution.recorder", "from supercm_ray.tracking import Tracker"),
        ("tracking.tracker", "from supercm_ray.runtime import Run"),
        ("runtime.tune_run", "from supercm_ray.cli.progress import ProgressView"),
        ("runtime.tune_run", "from supercm_ray.api import tune"),
        ("api", "from supercm_ray import cli"),
        ("config.study", "from supercm_ray import load_study"),
    ],
)
def test_the_checker_finds_a_breach(module: str, source: str) -> None:
    assert len(breaches(source, f"supercm_ray.{module}")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runtime.tune_run", "from ray import tune\nimport optuna\nfrom supercm_ray.search import to_optuna"),
        ("core.losses", "import torch\nfrom supercm_ray.core.ramps import gaussian_ramp\nfrom . import centroids"),
        ("search.space", "from supercm_ray import config as schema"),
        ("config.study", "from supercm_ray.config import Config"),
        ("cli.app", "from supercm_ray.cli.progress import ProgressView"),
        ("cli", "from supercm_ray import api"),
        ("data.batches", "import rayon\nfrom .augment import random_shift\nfrom ..config import Config"),
    ],
)
def test_the_checker_lets_the_rest_pass(module: str, source: str) -> None:
    assert breaches(source, f"supercm_ray.{module}") == []


def test_the_checker_knows_a_package_from_a_module() -> None:
    source = "from .training import fit"
    assert breaches(source, "supercm_ray.data", is_package=True) == [], "that is supercm_ray.data.training"
    assert len(breaches(source, "supercm_ray.data")) == 1
    assert len(breaches("from ..training import fit", "supercm_ray.data", is_package=True)) == 1


def test_no_room_hides_a_verb() -> None:
    """A room is an attribute of the package once it is imported, and would stand in the way of a verb of its name."""
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in ROOT.glob("*.py")}
    assert not rooms & set(supercm_ray.__all__)
