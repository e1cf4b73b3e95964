"""MLflow's SQLite database: created whole by one process, and set aside if a kill left it half made."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

SQLITE = "sqlite:///"
_PREFIX, _SUFFIX = ".supercm-", ".partial"
_QUIET_S = 10.0  # a file that nobody has written to for so long is not being made
_HELD = ("runs", "registered_models", "logged_models", "traces", "trace_info")
"""Tables with what a user would miss. Experiments alone are made by starting MLflow."""
_SIGNS = ("already exists", "no such table", "no such column", "duplicate column", "out-of-date database schema")


def is_absent(uri: str) -> bool:
    """Returns whether a tracking URI names a plain SQLite file that is not there."""
    return uri.startswith(SQLITE) and "?" not in uri and not Path(uri.removeprefix(SQLITE)).exists()


def with_database(uri: str, connect: Callable[[], T]) -> T:
    """Connects to MLflow. A SQLite database is created first if there is none, and again if MLflow cannot use it and it
    holds no run and no model, as one whose creation was killed.

    Args:
        uri: the tracking URI; anything but a plain SQLite file is connected to as it is.
        connect: connects to `uri`.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or "?" in uri or not path.parent.is_dir():
        return connect()
    if _is_empty(path):
        with _locked(path.parent):
            if _is_empty(path):
                _create(path)
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # no connection stays with a former file
    try:
        return connect()
    except Exception as error:  # of MLflow, SQLAlchemy, alembic
        if not _is_half_made(path, error):
            raise
    with _locked(path.parent):
        _wait_until_quiet(path)
        try:
            return connect()  # another process has come to the end of it, or mended it
        except Exception as error:  # as above
            if not _is_half_made(path, error):
                raise
            aside = path.with_name(f"{path.name}.half-made")
            path.replace(aside)
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.warning("%s was left half made (%s) and was moved to %s; it holds no run", path, said, aside.name)
            _create(path)
    return connect()


def _create(path: Path) -> None:
    """Builds the database beside its place and renames it, so that a kill leaves none that is half made."""
    for left in path.parent.glob(f"{_PREFIX}{path.name}.*{_SUFFIX}*"):  # by a kill; the lock is ours
        left.unlink(missing_ok=True)
    partial = path.with_name(f"{_PREFIX}{path.name}.{os.getpid()}{_SUFFIX}")
    try:
        MlflowClient(f"{SQLITE}{partial}").search_experiments(max_results=1)
        if _is_empty(path):
            partial.replace(path)
    finally:
        for left in path.parent.glob(f"{partial.name}*"):
            left.unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    """Returns whether there is no file, or one without a byte, as MLflow leaves it before its first table."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _is_half_made(path: Path, error: Exception) -> bool:
    """Returns whether an error is one of missing or doubled tables, and the database holds no run or model."""
    if not any(sign in str(error) for sign in _SIGNS):
        return False
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            counts = [database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables & {*_HELD}]  # noqa: S608 (names of ours)
    except sqlite3.Error:
        return False
    return not any(counts)


def _wait_until_quiet(path: Path) -> None:
    """Waits until no other program is making the database, such as `mlflow server`, which does not know our lock."""
    with suppress(FileNotFoundError):
        while time.time() - path.stat().st_mtime < _QUIET_S:
            time.sleep(0.5)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks a folder for this process, if its file system supports locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
