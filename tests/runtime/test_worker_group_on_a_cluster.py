"""A run on two nodes of which one is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from supercm_ray.errors import WorkersError
from supercm_ray.runtime.nodes import alive_nodes
from supercm_ray.runtime.worker_group import WorkerGroupRun, Workers, groups_that_fit

from . import toy_loops

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(no_ray: None) -> Iterator[Cluster]:
    """A head and a node on this machine, with room for one worker each."""
    before = dict(os.environ)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "5"
    ray.cloudpickle.register_pickle_by_value(toy_loops)
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        made.add_node(**NODE)
        ray.init(made.address, log_to_driver=False)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(toy_loops)
        os.environ.clear()
        os.environ.update(before)


def kill_node(cluster: Cluster) -> None:
    """Kills the raylet of the node that is not the head."""
    (node,) = cluster.worker_nodes
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_with_a_node_killed_an_elastic_run_goes_on_with_fewer_workers(cluster: Cluster, tmp_path: Path) -> None:
    given = {"folder": str(tmp_path / "toy"), "epochs": 400, "sleep_s": 0.2}
    run = WorkerGroupRun(toy_loops.count, given, Workers((1, 2)), name="toy")
    assert groups_that_fit(Workers((1, 2)), alive_nodes()) == 1
    epochs, workers = [], []
    for message in run:
        epochs.append(message["epoch"])
        workers.append(message["workers"])
        if len(epochs) == 5:
            kill_node(cluster)
        if workers[-5:] == [1] * 5:
            break
    run.close()
    assert epochs == list(range(1, len(epochs) + 1))
    counts = [count for count in workers if count]  # an epoch that only the checkpoint knew of has none
    assert counts == sorted(counts, reverse=True)
    assert counts[:5] == [2] * 5
    assert run.restarts >= 1


@pytest.mark.slow
def test_with_a_node_killed_a_run_that_needs_both_ends_with_one_clear_error(cluster: Cluster, tmp_path: Path) -> None:
    given = {"folder": str(tmp_path / "toy"), "epochs": 10_000, "sleep_s": 0.2}
    workers = Workers(2, max_failures=1)
    epochs = []
    with pytest.raises(WorkersError, match=r"2 times in a row without a new epoch; .* timed out after 5\.0 seconds"):
        for message in WorkerGroupRun(toy_loops.count, given, workers, name="toy"):
            epochs.append(message["epoch"])
            if len(epochs) == 5:
                kill_node(cluster)
    assert epochs == list(range(1, len(epochs) + 1))
