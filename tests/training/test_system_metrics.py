"""The machines of a run, as MLflow names what is measured of them."""

from __future__ import annotations

import pytest
import torch

from supercm_ray.training.system_metrics import PREFIX, SystemMetrics, _by_node, _Sample

MACHINE = ("cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage")


def test_machine_of_single_worker_is_measured() -> None:
    found = SystemMetrics(torch.device("cpu")).measure()
    assert set(found) == {PREFIX + name for name in MACHINE}
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert found["system/system_memory_usage_megabytes"] > 1


def test_nodes_are_told_apart_and_counted_once() -> None:
    samples = [
        _Sample("n1", {"cpu": 10.0}, {"utilization_percentage": 1.0}),
        _Sample("n2", {"cpu": 20.0}, {"utilization_percentage": 2.0}),
        _Sample("n1", {"cpu": 11.0}, {"utilization_percentage": 3.0}),
    ]
    assert _by_node(samples) == {
        "system/n1/cpu": 10.0,
        "system/n2/cpu": 20.0,
        "system/n1/gpu_0_utilization_percentage": 1.0,
        "system/n1/gpu_1_utilization_percentage": 3.0,
        "system/n2/gpu_0_utilization_percentage": 2.0,
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_of_worker_is_measured() -> None:
    found = SystemMetrics(torch.device("cuda")).measure()
    assert found["system/gpu_0_memory_usage_megabytes"] > 0
    assert 0 < found["system/gpu_0_memory_usage_percentage"] <= 100
