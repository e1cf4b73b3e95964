"""A trainer whose `fit` returns at once, with the run still going on.

Relies on (Ray 2.56 to 2.60): `DataParallelTrainer._initialize_and_run_controller`, called by `fit` with the arguments
of `TrainController`, among them `callbacks`, `failure_policy` and `scaling_policy`; the class names of the callbacks
in `_UNUSED_CALLBACKS`.
Why: `fit` waits for the end and keeps the controller's handle to itself, and takes no failure or scaling policy.
"""

from __future__ import annotations

import os
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supercm_ray.runtime.train_internals.controller import Controller
from supercm_ray.runtime.train_internals.elastic_scaling import FreshElasticPolicy
from supercm_ray.runtime.train_internals.failure_policy import ProgressPolicy
from supercm_ray.runtime.train_internals.fixed_scaling import PlainScalingPolicy

_UNUSED_CALLBACKS = {"DatasetsCallback", "PlacementGroupCleanerCallback", "WorkingDirectorySetupCallback"}
"""Callbacks of Ray that cost a process each for what is not used here, or change the working directory."""

_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process for each run; a node that goes away is noticed anyway
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",  # Ray's 30 s delay a new start if a worker hangs
}


class Trainer(TorchTrainer):
    """Starts the controller of a run.

    Attributes:
        controller: the handle of the actor that runs the workers; set by `fit`.
        finished: a reference that is ready when the controller has ended; set by `fit`.
    """

    controller: ActorHandle
    finished: ray.ObjectRef

    def __init__(self, *args: Any, channel: ActorHandle, max_failures: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._channel, self._max_failures = channel, max_failures

    def _initialize_and_run_controller(self, **kwargs: Any) -> Result:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        chosen = {name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")}
        chosen |= {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        actor = ray.remote(
            num_cpus=0,
            lifetime="detached",
            scheduling_strategy=here,
            runtime_env={"env_vars": {**_ENVIRONMENT, **chosen}},
        )(Controller)
        kwargs["callbacks"] = [one for one in kwargs["callbacks"] if type(one).__name__ not in _UNUSED_CALLBACKS]
        kwargs["failure_policy"] = ProgressPolicy(self.run_config.failure_config, self._channel, self._max_failures)
        policy = FreshElasticPolicy if self.scaling_config.elasticity_enabled else PlainScalingPolicy
        kwargs["scaling_policy"] = policy(self.scaling_config)
        self.controller = actor.remote(channel=self._channel, **kwargs)
        self.finished = self.controller.run.remote()
        return Result(metrics=None, checkpoint=None, error=None, path="", metrics_dataframe=None)
