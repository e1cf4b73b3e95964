"""Who can reach what: addresses, tokens and credentials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from studies import Place

from .processes import below, listening_addresses, trial_runners


def test_ray_listens_on_loopback_and_its_processes_hold_no_credentials(place: Place) -> None:
    place.more = {
        "MLFLOW_TRACKING_PASSWORD": "topsecret-pw",
        "MLFLOW_TRACKING_TOKEN": "topsecret-token",
        "DATABASE_URL": "postgresql://user:topsecret-url@host/db",
        "PGPASSWORD": "topsecret-postgresql",
    }
    process = place.start("tune", "tiny.yaml", "training.steps_per_epoch=40", "training.num_epochs=20")
    place.wait_for(process, "trials/*/metrics.jsonl", 2)
    addresses = listening_addresses(process.pid)
    workers = trial_runners(process.pid)
    inherited = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in below(process.pid) if pid != process.pid}
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert workers
    assert len(inherited) > len(workers)
    assert addresses
    assert all(address.startswith("127.") for address in addresses), addresses
    assert not any(b"topsecret" in environ for environ in inherited.values())
    kept = [path for path in place.path.rglob("*") if path.is_file() and b"topsecret" in path.read_bytes()]
    assert not kept


def test_a_cluster_that_does_not_answer_is_one_clear_error(place: Place, no_ray: None) -> None:
    place.more = {"RAY_ADDRESS": "127.0.0.1:1"}
    done = place.here("tune", "tiny.yaml")
    assert done.returncode == 2, done.stderr
    assert "a Ray cluster must answer at RAY_ADDRESS, got '127.0.0.1:1'" in done.stderr
    assert "Traceback" not in done.stderr
    assert {run.info.status for run in place.runs()} == {"FAILED"}


def test_an_mlflow_that_does_not_answer_is_one_clear_error_without_its_password(place: Place) -> None:
    for uri in ("http://user:topsecret@127.0.0.1:1", "./mlruns", "nonsense://x"):
        place.more = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        done = place.here("tune", "tiny.yaml")
        assert done.returncode == 2, done.stderr
        assert "MLflow must be usable at" in done.stderr
        assert "topsecret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_trial_without_a_gpu_sees_none(place: Place) -> None:
    """On a machine with GPUs, trials that reserved none would otherwise all take the first one."""
    code = """
import os, ray
from supercm_ray.runtime.cluster import ray_session
os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
with ray_session():
    @ray.remote(num_cpus=1)
    def seen():
        return os.environ.get("CUDA_VISIBLE_DEVICES")
    print("seen", repr(ray.get(seen.remote())))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert "seen ''" in done.stdout, done.stdout + done.stderr
