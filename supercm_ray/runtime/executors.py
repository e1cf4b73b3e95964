"""The built-in executors by name. Ray is imported when its executor is created."""

from __future__ import annotations

from supercm_ray.execution.executor import EXECUTORS, Executor
from supercm_ray.execution.in_process import InProcessExecutor


@EXECUTORS.register("ray")
def _ray() -> Executor:
    from supercm_ray.runtime.ray_executor import RayExecutor

    return RayExecutor()


EXECUTORS.add("in-process", InProcessExecutor)
