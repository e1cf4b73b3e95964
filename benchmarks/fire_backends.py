"""The trackers of the fire drill: a SQLite database in the folder, and a real server over PostgreSQL."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 120.0


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path | None:
    """Returns the folder of PostgreSQL's programs, None where it is not installed or may not be started."""
    found = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return None
    return found.parent if found else None


class Postgres:
    """A PostgreSQL cluster of its own, with a database `mlflow`."""

    def __init__(self, folder: Path, programs: Path) -> None:
        """Stores where it is to be."""
        self._folder, self._programs, self.port = folder, programs, free_port()
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.password = secrets.token_hex(16)

    def make(self) -> None:
        """Makes the cluster and starts it."""
        folder = self._folder
        folder.mkdir(parents=True)
        (folder / "password").write_text(self.password)
        (folder / "password").chmod(0o600)
        if self._as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        self._run("initdb", "-A", "scram-sha-256", "-U", "mlflow", f"--pwfile={folder}/password")
        self.start()
        create = [str(self._programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", "mlflow"]
        subprocess.run(create, check=True, env={**os.environ, "PGPASSWORD": self.password})

    @property
    def uri(self) -> str:
        """Its address, without the password."""
        return f"postgresql+psycopg://mlflow@127.0.0.1:{self.port}/mlflow"

    def start(self) -> None:
        """Starts it, and waits until it takes connections; no-op if it runs."""
        if not (self._folder / "data" / "postmaster.pid").exists():
            options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
            self._run("pg_ctl", "-l", f"{self._folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stops it as a crash does; no-op if it does not run."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as_user, str(self._programs / program), "-D", f"{self._folder}/data", *words]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Server:
    """`mlflow server` with basic auth, over PostgreSQL, or over SQLite where there is none."""

    def __init__(self, folder: Path) -> None:
        """Stores where it is to be."""
        programs = postgres_programs()
        self.postgres = Postgres(folder / "postgres", programs) if programs else None
        self.name = "server, PostgreSQL" if self.postgres else "server, SQLite"
        self.folder, self.password, self._port = folder, secrets.token_hex(16), free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._store = self.postgres.uri if self.postgres else f"sqlite:///{folder}/mlflow.db"
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Makes its database and starts it."""
        self.folder.mkdir(parents=True)
        if self.postgres:
            self.postgres.make()
        lines = [f"database_uri = {self._store}", "default_permission = EDIT", "admin_username = admin"]
        lines += [f"admin_password = {self.password}", "auth_cache_ttl_seconds = 60"]
        lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
        file = self.folder / "basic_auth.ini"
        file.write_text("\n".join(["[mlflow]", *lines, ""]))
        file.chmod(0o600)
        self.start()

    @property
    def credentials(self) -> dict[str, str]:
        """The variables with which a command is let in."""
        return {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": self.password}

    @property
    def passwords(self) -> tuple[str, ...]:
        """What no command may show."""
        return (self.password, *([self.postgres.password] if self.postgres else []))

    def start(self) -> None:
        """Starts it, and waits until it answers from its database; no-op if it runs."""
        if self._process is None:
            variables = {"MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "basic_auth.ini")}
            variables |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16)}
            variables |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            variables["PGPASSWORD"] = self.postgres.password if self.postgres else ""
            words = ["--port", str(self._port), "--workers", "1", "--app-name", "basic-auth"]
            words += ["--backend-store-uri", self._store, "--artifacts-destination", str(self.folder / "artifacts")]
            with (self.folder / "log").open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mlflow", "server", *words],
                    cwd=self.folder,
                    env={**os.environ, **variables},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        self.wait()

    def wait(self) -> None:
        """Waits until it answers from its database.

        Raises:
            RuntimeError: if it does not.
        """
        until = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if time.monotonic() > until or self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"mlflow server does not answer: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        address = f"{self.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
        keeper = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        keeper.add_password(None, self.uri, "admin", self.password)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(keeper))
        try:
            with opener.open(address, timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def signal(self, sig: signal.Signals) -> None:
        """Sends a signal to all its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, sig)

    def kill(self) -> None:
        """Ends it at once."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Ends it, and its database."""
        self.kill()
        if self.postgres:
            self.postgres.stop()
