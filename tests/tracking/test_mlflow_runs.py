"""Training as a user of MLflow sees it: beside runs of the user's own, and with a server that goes away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient

import supercm_ray
from supercm_ray.config import load_study

SMALL = """\
base:
  data: {name: digits, label_ratio: 0.1}
  model: {name: mlp, options: {channels: [4]}}
  training: {num_epochs: 2, steps_per_epoch: 2, device: cpu}
"""


@pytest.fixture
def restored() -> Iterator[None]:
    """MLflow's global state as it was."""
    former = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    mlflow.end_run()
    mlflow.set_tracking_uri("")
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ |= former


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("database", "folder", "restored")
def test_a_users_own_active_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL, encoding="utf-8")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("my_thesis")
    with mlflow.start_run(run_name="outer") as outer:
        mlflow.log_metric("mine", 1.0)
        result = supercm_ray.train(load_study("a.yaml"))
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == outer.info.run_id
    client = MlflowClient("sqlite:///mlflow.db")
    kept = client.get_run(outer.info.run_id)
    assert (kept.data.metrics, kept.data.params, kept.outputs.model_outputs) == ({"mine": 1.0}, {}, [])
    ours = client.get_run(result.run_id)
    assert client.get_experiment(ours.info.experiment_id).name == "supercm_ray"
    assert (ours.info.status, ours.data.tags.get("mlflow.parentRunId")) == ("FINISHED", None)
    assert client.get_logged_model(result.model_uri.removeprefix("models:/")).source_run_id == result.run_id


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_dies_costs_no_result_and_is_filled_later(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    (tmp_path / "s.yaml").write_text(
        SMALL.replace("num_epochs: 2, steps_per_epoch: 2", "num_epochs: 60, steps_per_epoch: 20")
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    words = [sys.executable, "-W", "ignore", "-m", "supercm_ray.cli", "train", "s.yaml"]
    server = _serve(tmp_path, port)
    try:
        train = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        _wait(lambda: sum(path.read_text().count("\n") for path in tmp_path.rglob("metrics.jsonl")) >= 3)
    finally:
        _kill(server)
    output = train.communicate(timeout=200)[0]
    assert train.returncode == 0, output
    assert "val/accuracy" in output
    assert "checkpoint  " in output
    assert "`supercm-ray sync" not in output, "a command is given as it is typed"
    assert re.search(r"lacks a part of this study, .*; supercm-ray sync \S+ sends it, as does the same command", output)
    assert "Traceback" not in output
    server = _serve(tmp_path, port)
    try:
        again = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert "lacks a part" not in again.stderr
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("supercm_ray")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert [one.step for one in client.get_metric_history(run.info.run_id, "val/loss")] == list(range(1, 61))
        assert (run.info.status, "supercm.model_uri" in run.data.tags) == ("FINISHED", True)
    finally:
        _kill(server)


def _serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """MLflow's server, answering."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'be.db'}", "--artifacts-destination", str(folder / "arts")]
    with (folder / "server.txt").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(lambda: _answers(port))
    except BaseException:
        _kill(server)
        raise
    return server


def _kill(server: subprocess.Popen[bytes]) -> None:
    """At once and with all its workers."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok
    except requests.RequestException:
        return False


def _wait(condition: object, timeout_s: float = 120) -> None:
    assert callable(condition)
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
