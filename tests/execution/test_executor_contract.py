"""Every executor keeps the contract."""

from __future__ import annotations

import pytest

from supercm_ray.execution.executor import EXECUTORS, Executor
from supercm_ray.testing.executor import ExecutorContract


class TestInProcess(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return EXECUTORS.find("in-process").make()


class TestRay(ExecutorContract):
    @pytest.fixture
    def executor(self, ray_cluster: None) -> Executor:
        return EXECUTORS.find("ray").make()
