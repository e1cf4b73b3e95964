"""What `runtime/` relies on of Ray beyond its public interface, most of it in `remote.py`. Ray is pinned to one minor
version; who moves the pin learns here what has changed, and then tries `tests/runtime/test_group.py`.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import ray
from ray._private.node import Node
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, WorkerGroupContext
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from supercm_ray.runtime import remote

CHANGED = f"Ray {ray.__version__} has changed {{}}, which supercm_ray/runtime overrides or calls"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (DataParallelTrainer._initialize_and_run_controller, ["self", "controller_init_kwargs"]),
        (DataParallelTrainer._create_default_callbacks, ["self"]),
        (WorkerGroup._create_placement_group, ["self", "scaling_config", "worker_group_context"]),
        (_TorchBackend.on_start, ["self", "worker_group", "backend_config"]),
        (_set_torch_distributed_env_vars, []),
        (
            _setup_torch_process_group,
            ["backend", "world_rank", "world_size", "init_method", "timeout_s"],
        ),
        (DefaultFailurePolicy.make_decision, ["self", "training_failed_error"]),
        (DefaultFailurePolicy._is_retryable_error, ["self", "training_failed_error"]),
        (ElasticScalingPolicy._count_possible_workers, ["self", "reserved_resources"]),
        (FixedScalingPolicy.after_controller_start, ["self", "train_run_context"]),
        (FixedScalingPolicy._maybe_send_resource_request, ["self"]),
        (FixedScalingPolicy.before_controller_shutdown, ["self"]),
        (FixedScalingPolicy.before_controller_abort, ["self"]),
        (Node.kill_log_monitor, ["self", "check_alive"]),
        (WorkerGroup._init_train_context, ["self", "workers", "sync_actor"]),
        (WorkerGroup.poll_status, ["self", "timeout"]),
        (TrainController.run, ["self"]),
        (TrainController.abort, ["self"]),
        (TrainController.get_result, ["self"]),
        (TrainController._step, ["self"]),
        (TrainController._poll_workers, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_method_is_as_it_was(method: Callable[..., Any], parameters: list[str]) -> None:
    names = [name for name in inspect.signature(method).parameters if not name.startswith("_ray_")]  # Ray's, for actors
    assert names == parameters, CHANGED.format(method.__qualname__)


@pytest.mark.parametrize("name", ["run", "abort", "_step", "_poll_workers"])
def test_a_method_of_the_controller_is_a_coroutine(name: str) -> None:
    method = getattr(TrainController, name)
    assert inspect.iscoroutinefunction(method), CHANGED.format(method.__qualname__)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (DataParallelTrainer.fit, "self._initialize_and_run_controller("),
        (DataParallelTrainer.fit, "scaling_policy="),
        (DataParallelTrainer.fit, "failure_policy="),
        (DataParallelTrainer.fit, "callbacks=self._create_default_callbacks()"),
        (DataParallelTrainer.fit, "if result.error:"),
        (TrainController._start_worker_group, "self.worker_group_cls.create("),
        (TrainController._step, "await self._poll_workers()"),
        (_TorchBackend.on_start, "worker_group.execute(_set_torch_distributed_env_vars)"),
        (WorkerGroup._start_impl, "self._create_placement_group("),
        (ElasticScalingPolicy.make_decision_for_non_running_worker_group, "self._count_possible_workers("),
    ],
    ids=lambda value: getattr(value, "__qualname__", value),
)
def test_what_is_overridden_is_still_called(where: Callable[..., Any], text: str) -> None:
    assert text in inspect.getsource(where), CHANGED.format(where.__qualname__)


def test_what_is_read_is_there() -> None:
    read = {"run_attempt_id", "num_workers", "resources_per_worker", "placement_strategy", "label_selector"}
    assert read <= {field.name for field in fields(WorkerGroupContext)}, CHANGED.format("WorkerGroupContext")
    assert {"RETRY", "RAISE"} <= {decision.name for decision in FailureDecision}, CHANGED.format("FailureDecision")


def test_rays_processes_need_nothing_of_this_package() -> None:
    """Otherwise each would take seconds more to start and hundreds of megabytes."""
    ray.cloudpickle.register_pickle_by_value(remote)
    names = [
        "Channel",
        "Controller",
        "ProgressPolicy",
        "FreshElasticPolicy",
        "PlainPolicy",
        "LoopbackTorchConfig",
        "work",
    ]
    sent = ray.cloudpickle.dumps([getattr(remote, name) for name in names])
    code = "import pickle, sys; sys.modules['supercm_ray'] = None; print(pickle.load(sys.stdin.buffer))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=False, timeout=200)
    assert all(name in done.stdout.decode() for name in names), done.stderr.decode()
