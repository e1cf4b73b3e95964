"""`launch/mlflow-server.sh` on a PostgreSQL of its own: who may write, and where passwords are."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from studies import Place

SCRIPT = Path(__file__).parents[2] / "launch" / "mlflow-server.sh"
INITDB = next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), shutil.which("initdb"))
HAS_PACKAGES = all(importlib.util.find_spec(name) for name in ("flask_wtf", "psycopg"))
URI = "postgresql://mlflow@localhost/mlflow"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(folder: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PG"))}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(folder), **variables}


def refused(folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [SCRIPT], env=environment(folder, **variables), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_what_it_lacks_is_told(tmp_path: Path) -> None:
    assert "must name a PostgreSQL" in refused(tmp_path)
    assert "must name a PostgreSQL" in refused(tmp_path, MLFLOW_BACKEND_STORE_URI="sqlite:///mlflow.db")


@pytest.mark.parametrize("uri", ["postgresql://mlflow:topsecret@localhost/mlflow", f"{URI}?password=topsecret"])
def test_an_address_with_a_password_is_refused(tmp_path: Path, uri: str) -> None:
    said = refused(tmp_path, MLFLOW_BACKEND_STORE_URI=uri)
    assert "PGPASSWORD" in said
    assert "topsecret" not in said


@pytest.mark.skipif(not HAS_PACKAGES, reason="needs the packages of supercm-ray[server]")
def test_a_password_file_that_others_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("topsecret-admin")
    file.chmod(0o644)
    said = refused(tmp_path, MLFLOW_BACKEND_STORE_URI=URI, MLFLOW_AUTH_ADMIN_PASSWORD_FILE=str(file))
    assert "chmod 600" in said


@pytest.mark.skipif(not HAS_PACKAGES, reason="needs the packages of supercm-ray[server]")
@pytest.mark.parametrize("words", [["--host", "0.0.0.0"], ["--host=10.0.0.1"], ["-h", "127.0.0.1"], []])
def test_a_host_for_others_comes_with_a_warning(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "mlflow").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "mlflow").chmod(0o755)
    given = environment(tmp_path, MLFLOW_BACKEND_STORE_URI=URI)
    given["PATH"] = f"{tmp_path}:{given['PATH']}"
    done = subprocess.run([SCRIPT, *words], env=given, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["server", "--app-name", "basic-auth", *words]
    assert ("unencrypted" in done.stderr) == bool(words and "127.0.0.1" not in words)


@dataclass
class Server:
    """A running server, and what its administrator and its PostgreSQL are asked for."""

    uri: str
    folder: Path
    process: subprocess.Popen[str]
    passwords: dict[str, str]

    def ask(self, path: str, user: str = "", fields: object = None, password: str = "") -> tuple[int, str]:
        """Status and text of an answer: to that user, by default with the right password."""
        request = urllib.request.Request(f"{self.uri}/{path}", json.dumps(fields).encode() if fields else None)
        request.add_header("Content-Type", "application/json")
        if user:
            pair = f"{user}:{password or self.passwords[user]}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait(self) -> None:
        until = time.monotonic() + 300
        while True:
            try:
                return self.ask("health") and None
            except OSError:
                assert self.process.poll() is None, (self.folder / "output").read_text()
                assert time.monotonic() < until, (self.folder / "output").read_text()
                time.sleep(0.2)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL with a database `mlflow`."""

    port: int
    password: str


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if INITDB is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="supercm-postgres-"))
    made = Postgres(free_port(), secrets.token_hex(16))
    (folder / "password").write_text(made.password)
    if os.geteuid() == 0:  # as whom it does not run
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("needs the user postgres: apt-get install postgresql")
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    programs = Path(INITDB).parent

    def run(*words: str) -> None:
        subprocess.run([*as_user, *words], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    run(INITDB, "-D", f"{folder}/data", "-A", "scram-sha-256", "-U", "mlflow", f"--pwfile={folder}/password")
    options = f"-p {made.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = (f"{programs}/pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w")
    run(*control, "-o", options, "start")
    try:
        create = [f"{programs}/createdb", "-h", "127.0.0.1", "-p", str(made.port), "-U", "mlflow", "mlflow"]
        subprocess.run(create, check=True, env={**os.environ, "PGPASSWORD": made.password})
        yield made
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def server(postgres: Postgres, tmp_path: Path) -> Iterator[Server]:
    if not HAS_PACKAGES:
        pytest.skip("needs the packages of supercm-ray[server]")
    passwords = {"admin": secrets.token_hex(16), "anna": secrets.token_hex(16), "postgres": postgres.password}
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "admin").write_text(passwords["admin"])
    (folder / "admin").chmod(0o600)
    (folder / ".pgpass").write_text(f"127.0.0.1:{postgres.port}:*:mlflow:{postgres.password}\n")
    (folder / ".pgpass").chmod(0o600)
    variables = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql://mlflow@127.0.0.1:{postgres.port}/mlflow",
        "MLFLOW_AUTH_ADMIN_PASSWORD_FILE": str(folder / "admin"),
    }
    port = free_port()
    with (folder / "output").open("w") as file:
        process = subprocess.Popen(
            [SCRIPT, "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=environment(folder, **variables),
            stdout=file,
            stderr=file,
            text=True,
        )
    made = Server(f"http://127.0.0.1:{port}", folder, process, passwords)
    try:
        made.wait()
        yield made
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_team_writes_with_names_and_passwords(server: Server, place: Place) -> None:
    passwords, api = server.passwords, "api/2.0/mlflow"
    assert server.ask(f"{api}/experiments/get?experiment_id=0")[0] == 401
    assert server.ask(f"{api}/experiments/get?experiment_id=0", "admin", password="a wrong password")[0] == 401
    assert server.ask(f"{api}/experiments/get?experiment_id=0", "admin")[0] == 200
    assert server.ask(f"{api}/users/create", "admin", {"username": "anna", "password": passwords["anna"]})[0] == 200
    status, made = server.ask(f"{api}/experiments/create", "admin", {"name": "supercm_ray"})
    assert status == 200

    place.more = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_TRACKING_USERNAME": "anna"}
    words = ("tune", "tiny.yaml", "--executor", "in-process", "budget.num_trials=2", "num_seeds=1")
    place.more["MLFLOW_TRACKING_PASSWORD"] = "a wrong password"
    done = place.run(*words)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert "401" in done.stdout
    assert "MLFLOW_TRACKING_PASSWORD" in done.stdout
    assert not list(place.path.glob("results/tiny/*/*/run.json"))

    place.more["MLFLOW_TRACKING_PASSWORD"] = passwords["anna"]
    done = place.run(*words)
    assert done.returncode == 0, done.stdout
    assert "View run" not in done.stdout
    found = {"experiment_ids": [json.loads(made)["experiment_id"]]}
    _, text = server.ask(f"{api}/runs/search", "anna", found)
    runs = json.loads(text)["runs"]
    assert {run["info"]["status"] for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    assert len(runs) >= 1 + 2 + 1
    state = server.folder / ".local/state/mlflow-server"
    assert list(state.glob("artifacts/**/report.html"))
    check_where_passwords_are(server, place)


def check_where_passwords_are(server: Server, place: Place) -> None:
    """They are where they were put, and in no file that the server or the study made, nor on a command line."""
    given = {server.folder / "admin", server.folder / ".pgpass"}
    left = [file for folder in (server.folder, place.path) for file in folder.rglob("*") if file.is_file()]
    for password in server.passwords.values():
        assert {file for file in left if password.encode() in file.read_bytes()} <= given
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert password.encode() not in file.read_bytes(), file
            except OSError:
                continue
    for file in server.folder.joinpath(".local/state/mlflow-server").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
