"""What `runtime/train_internals/` relies on of Ray beyond its public interface, one section a file.

`make test-ray RAY=2.58.1` runs this with another version of Ray. Who widens the supported range learns here what a new
version has changed, and then tries `tests/runtime/test_worker_group.py`.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants, services
from ray.train import FailureConfig, RunConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, WorkerGroupContext
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from supercm_ray.runtime import channel, losses, torch_backend, train_internals, worker_loop
from supercm_ray.runtime.train_internals import (
    controller,
    elastic_scaling,
    failure_policy,
    fixed_scaling,
    trainer,
)

PACKAGE = Path(train_internals.__file__).parents[1]
CHANGED = f"Ray {ray.__version__} has changed {{}}, which supercm_ray/runtime/train_internals/{{}}.py relies on"


@pytest.mark.parametrize(
    ("file", "method", "parameters"),
    [
        ("trainer", DataParallelTrainer._initialize_and_run_controller, ["self", "controller_init_kwargs"]),
        ("controller", TrainController.run, ["self"]),
        ("controller", TrainController.abort, ["self"]),
        ("controller", TrainController.get_result, ["self"]),
        ("waiting", TrainController._step, ["self"]),
        ("placement", WorkerGroup._create_placement_group, ["self", "scaling_config", "worker_group_context"]),
        ("placement", DefaultPlacementGroupHandle.__init__, ["self", "pg"]),
        ("sync_actor", WorkerGroup._init_train_context, ["self", "workers", "sync_actor"]),
        ("failure_policy", DefaultFailurePolicy.__init__, ["self", "failure_config"]),
        ("failure_policy", DefaultFailurePolicy.make_decision, ["self", "training_failed_error"]),
        ("fixed_scaling", FixedScalingPolicy.after_controller_start, ["self", "train_run_context"]),
        ("fixed_scaling", FixedScalingPolicy._maybe_send_resource_request, ["self"]),
        ("fixed_scaling", FixedScalingPolicy.before_controller_shutdown, ["self"]),
        ("fixed_scaling", FixedScalingPolicy.before_controller_abort, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signature_is_the_known_one(file: str, method: Callable[..., Any], parameters: list[str]) -> None:
    names = [name for name in inspect.signature(method).parameters if not name.startswith("_ray_")]  # Ray's, for actors
    assert names == parameters, CHANGED.format(method.__qualname__, file)


def test_possible_workers_are_counted_from_one_argument() -> None:
    parameters = inspect.signature(ElasticScalingPolicy._count_possible_workers).parameters
    assert len(parameters) == 2, CHANGED.format("ElasticScalingPolicy._count_possible_workers", "elastic_scaling")


@pytest.mark.parametrize(
    "method",
    [
        TrainController.run,
        TrainController.abort,
        TrainController._step,
        FixedScalingPolicy.before_controller_shutdown,
    ],
    ids=lambda value: value.__qualname__,
)
def test_coroutine_is_still_one(method: Callable[..., Any]) -> None:
    assert inspect.iscoroutinefunction(method), CHANGED.format(method.__qualname__, "controller")


@pytest.mark.parametrize(
    ("file", "where", "text"),
    [
        ("trainer", DataParallelTrainer.fit, "self._initialize_and_run_controller("),
        ("trainer", DataParallelTrainer.fit, "scaling_policy="),
        ("trainer", DataParallelTrainer.fit, "failure_policy="),
        ("trainer", DataParallelTrainer.fit, "callbacks="),
        ("trainer", DataParallelTrainer.fit, "if result.error:"),
        ("controller", TrainController._start_worker_group, "self.worker_group_cls.create("),
        ("waiting", TrainController._run_control_loop_iteration, "await self._step()"),
        ("placement", WorkerGroup._start_impl, "self._create_placement_group("),
        ("sync_actor", WorkerGroup, "self._init_train_context(workers, sync_actor)"),
        ("fixed_scaling", FixedScalingPolicy, "self._maybe_send_resource_request()"),
        (
            "elastic_scaling",
            ElasticScalingPolicy.make_decision_for_non_running_worker_group,
            "self._count_possible_workers(",
        ),
        ("loopback_node", services.get_node_ip_address, "ray_constants.ENABLE_RAY_CLUSTER"),
    ],
    ids=lambda value: getattr(value, "__qualname__", value),
)
def test_override_is_still_called(file: str, where: Callable[..., Any], text: str) -> None:
    assert text in inspect.getsource(where), CHANGED.format(where.__qualname__, file)


def test_attributes_that_are_read_exist() -> None:
    read = {"run_attempt_id", "num_workers", "resources_per_worker", "placement_strategy", "label_selector"}
    assert read <= {field.name for field in fields(WorkerGroupContext)}, CHANGED.format(
        "WorkerGroupContext", "placement"
    )
    assert "self._train_run_context = " in inspect.getsource(WorkerGroup.__init__), CHANGED.format(
        "WorkerGroup", "placement"
    )
    assert {"RETRY", "RAISE"} <= set(FailureDecision.__members__), CHANGED.format("FailureDecision", "failure_policy")
    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool), CHANGED.format("ENABLE_RAY_CLUSTER", "loopback_node")


def test_draining_nodes_are_told(ray_cluster: None) -> None:
    from supercm_ray.runtime.train_internals.draining import draining_nodes

    assert draining_nodes() == frozenset()


def test_unused_callbacks_have_the_known_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_CHDIR_TO_TRIAL_DIR", raising=False)
    made = TorchTrainer(print, run_config=RunConfig(name="guard", storage_path=str(tmp_path)))
    names = {type(callback).__name__ for callback in made._create_default_callbacks()}
    assert names >= trainer._UNUSED_CALLBACKS, CHANGED.format("_create_default_callbacks", "trainer")


def test_policy_without_limits_always_tries_again() -> None:
    from ray.train.v2.api.exceptions import WorkerGroupError

    policy = DefaultFailurePolicy(FailureConfig(max_failures=-1))
    decisions = {policy.make_decision(WorkerGroupError("a worker failed", {0: RuntimeError()})) for _ in range(20)}
    assert decisions == {FailureDecision.RETRY}, CHANGED.format("DefaultFailurePolicy", "failure_policy")


def private_names(source: str) -> list[str]:
    """The modules and attributes of Ray that a source uses and whose names say that they are private."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
    return [name for name in found if name.startswith("ray.") and re.search(r"\._(?!_)|\.v2\.", name)]


def test_private_names_are_used_in_one_folder() -> None:
    assert "ray.train.v2.api.x" in private_names("from ray.train.v2.api import x")
    assert "ray._private.worker" in private_names("import ray\nray._private.worker.connect()")
    assert not private_names("from ray.train import get_context\nimport ray\nray.__version__")
    used = {path.relative_to(PACKAGE): private_names(path.read_text()) for path in PACKAGE.rglob("*.py")}
    outside = {path: names for path, names in used.items() if names and path.parent.name != "train_internals"}
    assert not outside
    assert len([names for names in used.values() if names]) <= 7, "is there no public way?"


@pytest.mark.parametrize("path", sorted((PACKAGE / "train_internals").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_each_file_says_what_it_relies_on(path: Path) -> None:
    source = path.read_text()
    document = ast.get_docstring(ast.parse(source)) or ""
    assert "Relies on (Ray " in document
    assert "\nWhy: " in document
    assert len(source.splitlines()) < 100


def test_rays_processes_start_without_this_package() -> None:
    """Otherwise each would take seconds more to start and hundreds of megabytes."""
    for module in (channel, losses, torch_backend, worker_loop, train_internals):
        ray.cloudpickle.register_pickle_by_value(module)
    sent = [
        channel.Channel,
        controller.Controller,
        failure_policy.ProgressPolicy,
        elastic_scaling.FreshElasticPolicy,
        fixed_scaling.PlainScalingPolicy,
        torch_backend.NodeTorchConfig,
        torch_backend.NodeBackend,
        worker_loop.run_loop,
    ]
    code = "import pickle, sys; sys.modules['supercm_ray'] = None; print(pickle.load(sys.stdin.buffer))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=ray.cloudpickle.dumps(sent), capture_output=True, check=False, timeout=200
    )
    assert all(one.__name__ in done.stdout.decode() for one in sent), done.stderr.decode()
