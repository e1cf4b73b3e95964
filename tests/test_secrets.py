"""Credentials of any form are shown nowhere, and a study leaves none behind."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import pytest
from sqlalchemy import make_url
from studies import Place

from supercm_ray.cli.logs import hide_credentials
from supercm_ray.config import load_study
from supercm_ray.credentials import has_credentials, without_credentials
from supercm_ray.errors import StudyError, TrackingError, WorkersError
from supercm_ray.records import RunFailed, StudyFolder
from supercm_ray.tracking.mlflow import MlflowTracker
from supercm_ray.tracking.mlflow.place import connect

SECRET = "topsecret"
ADDRESSES = [
    "http://user:topsecret@host:5000/x",
    "http://topsecret@host",
    "http://:topsecret@host",
    "postgresql+psycopg2://user:topsecret@ss@host/db",
    "postgresql://user:top/topsecret@host:5432/db?sslmode=on",
    "postgresql://user:topsecret%40ss@host/db",
    "postgresql://user:topsecret?x#y@host/db",
    "postgresql://host/db?user=me&password=topsecret&sslmode=on",
    "https://host/path?token=topsecret",
    "https://host/path?x=1;access_token=topsecret#part",
    "https://host/?X-Amz-Signature=topsecret&X-Amz-Security-Token=topsecret",
    "https://account.blob/x?sv=2020&sig=topsecret",
    "s3://bucket/runs?access_key=me&secret_key=topsecret&region=eu",
    "https://host/?next=http%3A%2F%2Fuser%3Atopsecret%40host%2F",
]
PLAIN = [
    "http://host:5000/a@b",
    "s3://bucket/runs?region=eu-central-1",
    "s3://bucket/a@b",
    "sqlite:////home/a@b/mlflow.db",
    "sqlite:////tmp/a:b/c@d/mlflow.db",
    "models:/name@alias",
    "an override must be `key=value`, got 'data.options.label_key=y'",
    "https://sqlalche.me/e/20/e3q8",
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but ordinary variables, as those of continuous integration may be secret by their names."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PWD") if name in os.environ}
    monkeypatch.setattr(os, "environ", kept)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("text", ["{}", "cannot reach '{}': refused", '{{"uri": "{}"}}', "({})", "twice {} and {}"])
def test_credentials_in_an_address_are_hidden(address: str, text: str) -> None:
    shown = without_credentials(text.format(address, address))
    assert SECRET not in shown
    assert "***" in shown
    assert has_credentials(address)
    assert not has_credentials(without_credentials(address))
    assert without_credentials(shown) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_credentials(text) == text
    assert not has_credentials(text)


def test_the_values_of_secret_variables_are_hidden_wherever_they_stand() -> None:
    secret = {
        "MLFLOW_TRACKING_URI": "postgresql://user:topsecret%40ss@host/db",
        "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2",
        "AWS_SECRET_ACCESS_KEY": "abc/def+ghi",
        "PGPASSWORD": "s3cr3t!",
    }
    plain = {"PWD": "/home/me", "OLDPWD": "/home/you", "RAY_AUTH_MODE": "disabled", "AWS_TOKEN_FILE": "/home/token"}
    with patch.dict(os.environ, {**secret, **plain}):
        text = "password topsecret@ss of hunter2hunter2 with abc/def+ghi, s3cr3t!, topsecret%40ss"
        assert without_credentials(text) == "password *** of *** with ***, ***, ***"
        assert without_credentials(" ".join(plain.values())) == " ".join(plain.values())


def test_errors_reasons_and_logs_hide_them(capsys: pytest.CaptureFixture[str]) -> None:
    address = ADDRESSES[3]
    assert SECRET not in str(StudyError(f"cannot read {address}"))
    failed = WorkersError(f"they failed at {address}", f"Traceback ...\n{address}")
    assert SECRET not in f"{failed} {failed.worker_traceback} {failed.args}"
    assert SECRET not in RunFailed(1, f"ValueError: {address}").reason
    hide_credentials()
    assert logging.lastResort is not None
    logging.lastResort.handle(logging.makeLogRecord({"msg": f"no answer from {address}", "levelno": logging.WARNING}))
    sys.excepthook(ValueError, ValueError(address), None)
    shown = capsys.readouterr().err
    assert shown == "no answer from postgresql+psycopg2://***@host/db\nValueError: postgresql+psycopg2://***@host/db\n"
    sys.excepthook = sys.__excepthook__


@pytest.mark.parametrize("key", ["training.storage_path", "data.root", "data.target", "data.splits"])
def test_a_study_takes_none_and_does_not_repeat_it(write, key: str) -> None:
    for address in ADDRESSES:
        value = f"{{name: digits, root: '{address}'}}" if key == "data.target" else f"'{address}'"
        with pytest.raises(StudyError, match=r"an address without credentials, .* must hold for base") as caught:
            load_study(write("base: {data: {label_ratio: 0.1}}"), [f"{key}={value}"])
        assert SECRET[:3] not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_refusal_of_mlflow_shows_none(address: str) -> None:
    with pytest.raises(TrackingError, match="MLflow must be usable at") as caught:
        connect(address.replace("http", "nothing").replace("+psycopg2", ""))
    assert SECRET[:3] not in str(caught.value)


@pytest.mark.slow
def test_a_study_in_an_odd_folder_leaves_no_secret(tmp_path: Path, empty_mlflow: Path) -> None:
    path = tmp_path / "it's 50 % of #1; $HOME & größer"
    path.mkdir()
    place = Place.make(path, empty_mlflow)
    (path / "tiny.yaml").rename(path / "digits.v2.yaml")
    place.more = {
        "MLFLOW_TRACKING_URI": f"sqlite:///file:{quote(quote(str(path)))}/mlflow.db?uri=true&token={SECRET}-uri",
        "MLFLOW_TRACKING_PASSWORD": f"{SECRET}-password",
        "AWS_SECRET_ACCESS_KEY": f"{SECRET}-key",
    }
    words = ("budget.num_trials=1", "num_seeds=1", "enqueued_trials=[]", "scheduler.name=none")
    fixed = ("training.num_epochs=1", "training.learning_rate=0.01", "data.label_ratio=0.1")
    done = place.here("tune", "digits.v2.yaml", "--executor", "in-process", *words, *fixed)
    assert done.returncode == 0, done.stderr
    assert " models:/m-" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    commands = [line[1] for line in lines if line and line[0] in ("tracking", "Optuna")]
    tracking, _, optuna = map(shlex.split, commands[-3:])  # the first lines say where it is tracked, too
    assert tracking == ["mlflow", "ui", "--backend-store-uri", "$MLFLOW_TRACKING_URI"]
    assert make_url(optuna[1]).database == f"{path}/results/digits.v2/optuna.db"
    assert SECRET not in place.here("report", "digits.v2").stdout
    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"mlflow.db", "run.json", "report.html", "MLmodel"} <= {file.name for file in left}
    assert not [file for file in left if SECRET.encode() in file.read_bytes()]
    assert json.loads((path / "results/digits.v2/table.json").read_text())["study"] == "digits.v2"


def test_printed_commands_can_be_pasted(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it's $HOME & more"
    path.mkdir()
    place = Place.make(path, empty_mlflow)
    monkeypatch.chdir(path)
    study = load_study(place.path / "tiny.yaml")
    tracker = MlflowTracker(study, StudyFolder.open(path / "results", "tiny", "identity"))
    command = ["sh", "-c", f"printf '%s\\n' {tracker.how_to_open.splitlines()[0]}"]
    pasted = subprocess.run(command, capture_output=True, text=True, check=True)
    assert pasted.stdout.splitlines() == ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{path}/mlflow.db"]
