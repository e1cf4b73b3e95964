"""MLflow's tracking URI and experiment, and connecting to them."""

from __future__ import annotations

import logging
import os
import time
from http import HTTPStatus
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, make_url

from supercm_ray.credentials import without_credentials
from supercm_ray.errors import TrackingError
from supercm_ray.tracking.messages import reason_of
from supercm_ray.tracking.mlflow.database import SQLITE, with_database

_ATTEMPTS, _PAUSE_S = 3, 1.0
_DATABASE_SERVERS = ("postgresql", "mysql")
_PATIENT = {"psycopg2", "psycopg", "pymysql", "mysqldb"}  # drivers that can be told how many seconds to wait
_DATABASE_PATIENCE_S = 15
_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",  # of two minutes; what is not answered is sent later
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # repeated blindly, a request whose answer was lost would make a second run
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run, between those of the progress
}
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"


def tracking_uri() -> str:
    """Returns MLFLOW_TRACKING_URI, or the URI of a database in the directory where the command was given."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path.cwd() / 'mlflow.db'}"


def experiment_name() -> str:
    """Returns MLFLOW_EXPERIMENT_NAME, or the name of this package."""
    return os.environ.get(EXPERIMENT_VARIABLE) or "supercm_ray"


def connect(uri: str) -> tuple[MlflowClient, str]:
    """Returns a client, and the id of the experiment, which is created if there is none.

    Raises:
        TrackingError: if MLflow does not answer or cannot be used.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):  # which announce each table of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # the traceback of each error that it raises
    try:
        return with_database(uri, lambda: _connect(uri))
    except TrackingError:
        raise
    except Exception as error:  # of SQLAlchemy, requests, alembic and the system
        local = f"{SQLITE}{Path.cwd() / 'mlflow.db'}"
        remedy = "move that file away" if uri == local else "unset it to use mlflow.db in this directory"
        if getattr(error, "get_http_status_code", int)() == HTTPStatus.UNAUTHORIZED:
            remedy = f"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user there, {remedy}"
        raise TrackingError(
            f"MLflow must be usable at {without_credentials(uri)}, got: {reason_of(error)}; set "
            f"MLFLOW_TRACKING_URI to another place, {remedy}, or set SUPERCM_TRACKING=none"
        ) from error


def check_mlflow() -> str:
    """Returns MLflow's address, without credentials, once it has answered. A database that is not there yet is not
    made.

    Raises:
        TrackingError: if it does not answer or cannot be used.
    """
    uri = tracking_uri()
    file = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or file.exists():
        connect(uri)
    elif not os.access(file.parent, os.W_OK):
        raise TrackingError(
            f"the folder of MLflow's database must be there and writable, got {file.parent}; make it, or set "
            "MLFLOW_TRACKING_URI to another place"
        )
    return without_credentials(uri)


def _connect(uri: str) -> tuple[MlflowClient, str]:
    """Returns what `connect` returns; asks again if a server fails at once."""
    _ask_database(uri)
    client = MlflowClient(uri)
    for left in reversed(range(_ATTEMPTS)):
        began = time.monotonic()
        try:
            return client, _find_experiment(client, uri)
        except TrackingError:
            raise
        except Exception:  # of requests, MLflow
            if not left or not uri.startswith("http") or time.monotonic() - began > 1:
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


def _ask_database(uri: str) -> None:
    """Connects once to a database that is a server, since MLflow tries for two minutes what cannot be reached.

    Raises:
        SQLAlchemyError: if it does not answer, or refuses.
    """
    if uri.startswith(_DATABASE_SERVERS):
        is_patient = make_url(uri).get_driver_name() in _PATIENT
        engine = create_engine(uri, connect_args={"connect_timeout": _DATABASE_PATIENCE_S} if is_patient else {})
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def _find_experiment(client: MlflowClient, uri: str) -> str:
    name = experiment_name()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another command made it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment `{name}` must be active at {without_credentials(uri)}, got one that was deleted; "
            f"restore it with `mlflow experiments restore -x {found.experiment_id}`, or set {EXPERIMENT_VARIABLE}"
        )
    return str(found.experiment_id)
