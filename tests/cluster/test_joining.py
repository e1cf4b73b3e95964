"""Which cluster a command joins, and which of its nodes it uses."""

from __future__ import annotations

import pytest

from .bench import Bench
from .hosts import Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.mark.nightly
def test_cluster_that_grows_from_nothing(hosts: Hosts) -> None:
    """A head without CPUs, whose nodes come while the command waits for them."""
    bench = Bench(hosts)
    bench.nodes = hosts.up("head", "one")
    bench.head.start_ray_head(num_cpus=0)
    bench.wait_for_mlflow()
    bench.new_study()
    refused = bench.give("tune", bench.file, check=False)
    assert refused.returncode == 2, refused.output
    process = bench.start_tune("--min-nodes", "1", "--wait", "240")
    process.wait_for_output("waiting for room")
    bench.nodes[1].start_ray_node(bench.head)
    assert process.wait() == 0, process.output
    bench.check_study()


@pytest.mark.nightly
def test_results_in_package_of_job(hosts: Hosts) -> None:
    """Which Ray deletes: a relative results folder is refused in a job with a working directory, an absolute is not."""
    bench = Bench(hosts)
    bench.nodes = hosts.up("head")
    bench.head.start_ray_head(dashboard=True)
    bench.wait_for_mlflow()
    bench.new_study()
    folder = hosts.shared / "job"
    folder.mkdir()
    (folder / "study.yaml").write_text((hosts.shared / f"{bench.name}.yaml").read_text())
    submit = ("ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--working-dir", ".", "--")
    tune = ("python", "-m", "supercm_ray.cli", "tune", "study.yaml")
    refused = bench.head.exec(*submit, *tune, cwd="/common/job", check=False)
    assert refused.returncode != 0
    assert "SUPERCM_RESULTS" in refused.output or "--results" in refused.output
    given = ("env", f"MLFLOW_TRACKING_URI={bench.mlflow_uri}", *tune, "--results", "/common/results")
    bench.head.exec(*submit, *given, cwd="/common/job")
    bench.check_study()


def test_allotted_core_is_what_is_taken(can_make_hosts: None, shared_bench: Bench) -> None:
    shared_bench.wait_for_mlflow()
    shared_bench.new_study(budget={"num_trials": 2})
    words = ("taskset", "-c", "0", "python", "-m", "supercm_ray.cli", "tune", shared_bench.file)
    done = shared_bench.desk.exec(*words, cwd="/common", MLFLOW_TRACKING_URI=shared_bench.mlflow_uri)
    assert "this machine alone, 1 of " in done.output
    shared_bench.check_study()


@pytest.mark.nightly
def test_cluster_at_hand_is_joined(bench: Bench) -> None:
    """Without RAY_ADDRESS; but under SLURM nothing is guessed."""
    assert "3 nodes" in bench.tune(RAY_ADDRESS="")
    bench.check_study()
    bench.new_study()
    for settings in ({"SLURM_JOB_ID": "7", "SLURM_NNODES": "3"}, {"SLURM_JOB_ID": "7"}):
        done = bench.give("tune", bench.file, check=False, RAY_ADDRESS="", **settings)
        assert done.returncode == 2, done.output
        assert "RAY_ADDRESS=local" in done.output
