"""The command `doctor` on this machine; tests/cluster has it on several hosts."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from commands import Done, supercm_ray
from studies import Place


def test_a_machine_alone_is_right(place: Place) -> None:
    done = place.here("doctor", "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert "this machine alone, " in lines["cluster"]
    assert "sent to nodes" in lines["data"]
    assert f"sqlite:///{place.path}/mlflow.db" in lines["MLflow"]
    assert not (place.path / "results").exists(), "nothing is left"


def wrong(folder: Path, *words: str, **variables: str) -> dict[str, str]:
    """What is wrong, by what was looked at."""
    done: Done = supercm_ray(folder, "doctor", *words, "--json", **variables)
    found = json.loads(done.stdout)
    assert (done.returncode, found["is_right"]) == (1, False)
    return {check["name"]: check["text"] for check in found["checks"] if check["state"] == "wrong"}


def test_a_folder_for_results_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    assert "results must be written, got: File exists" in wrong(tmp_path)["cluster"]


def test_a_plugin_that_fails_is_found(place: Place) -> None:
    (place.path / "broken_plugin_of_doctor.py").write_text("1 / 0\n")
    done = place.here("doctor", "tiny.yaml", "plugins=[broken_plugin_of_doctor]")
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


def test_a_slurm_job_without_an_address_is_found(tmp_path: Path) -> None:
    found = wrong(tmp_path, RAY_ADDRESS="", SLURM_JOB_ID="7", SLURM_JOB_NUM_NODES="3")
    assert "launch/slurm.sh" in found["cluster"]


def test_an_address_that_is_silent_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert f"got '{address}'" in wrong(tmp_path, "--address", address)["cluster"]


@pytest.mark.parametrize("uri", ["http://user:topsecret@127.0.0.1:1", "sqlite:////no/such/folder/mlflow.db"])
def test_an_mlflow_that_cannot_be_used_is_found(tmp_path: Path, uri: str) -> None:
    found = wrong(tmp_path, MLFLOW_TRACKING_URI=uri)
    assert "MLflow" in found
    assert "topsecret" not in found["MLflow"]


def test_data_that_cannot_be_read_are_found(place: Place) -> None:
    data = {"name": "image_folder", "root": "/no/such/folder", "options": {"image_size": 8}, "labels_per_class": 2}
    place.write(base={"data": data, "model": {"options": {"channels": [4, 8]}}})
    assert "/no/such/folder" in wrong(place.path, "tiny.yaml")["data"]
