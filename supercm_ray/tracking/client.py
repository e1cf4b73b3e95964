"""MLflow as a sync of the records on disk: whatever it lacks of a run is written, nothing is written twice.

Only the driver writes, through one background thread and in batches. MLflow out of order never harms a study: what it
misses is written at the end or by the next command.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from supercm_ray.config import Study
from supercm_ray.errors import TrackingError
from supercm_ray.records import RunRecord, Status, StudyFolder, now_ms

logger = logging.getLogger(__name__)

EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
_STATUS = {
    "running": RunStatus.RUNNING,
    "complete": RunStatus.FINISHED,
    "pruned": RunStatus.KILLED,
    "interrupted": RunStatus.KILLED,
    "failed": RunStatus.FAILED,
}
_DESCRIBED = "supercm.described"  # the tag of a run whose parameters and splits are all there
_BATCH = 1000  # MLflow's limit of metrics in one call


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or a database in the directory where the command was given."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def experiment_name() -> str:
    """MLFLOW_EXPERIMENT_NAME, or the name of this package."""
    return os.environ.get(EXPERIMENT_VARIABLE) or "supercm_ray"


def without_credentials(text: str) -> str:
    """The text with the user and password of any address in it hidden."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


class Tracker:
    """The runs of one study in MLflow: a parent, and a child for each run folder."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        """Finds or makes the experiment.

        Raises:
            TrackingError: where MLflow does not answer or cannot be used, before anything is started.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # seven take minutes, and records are kept anyway
        self._study, self._folder = study, folder
        for name in ("mlflow", "alembic"):  # which announce each table of a new database
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self._client = MlflowClient(tracking_uri())
            self._experiment_id = self._find_experiment()
        except (MlflowException, OSError, ImportError, SQLAlchemyError) as error:
            reason = without_credentials(str(error).strip().splitlines()[0])
            raise TrackingError(
                f"MLflow must be usable at {without_credentials(tracking_uri())}, got: {reason}; set "
                "MLFLOW_TRACKING_URI to another place, or unset it to use mlflow.db in this directory"
            ) from error
        self._recalled = False
        self._children: dict[str, str] = {}
        self._described: set[str] = set()
        self._written: dict[str, int] = {}
        self._last: dict[str, RunRecord] = {}
        self.parent_id: str | None = None

    def open_parent(self) -> str:
        """Finds or makes the parent run, of which all runs written from now on are children, and sets it running."""
        self.find_parent()
        assert self.parent_id is not None
        self._set_status(self.parent_id, "running", None)
        return self.parent_id

    def sync(self, key: str) -> None:
        """Writes what MLflow lacks of the run with this key, its epochs in one batch, and its status."""
        record, history = self._folder.run(key).record(), self._folder.run(key).history()
        if record is None:
            return
        run_id = self._child(record)
        missing = [metrics for metrics in history if metrics["epoch"] > self._written[key]]
        if missing:
            self._log_epochs(run_id, missing)
            self._written[key] = int(missing[-1]["epoch"])
        if self._last.get(key) != record:
            self._log_record(run_id, record)
            self._last[key] = record

    def sync_all(self) -> None:
        """Writes what MLflow lacks of any run of the study."""
        for record in self._folder.runs():
            self.sync(record.key)

    def end_parent(self, status: Status) -> None:
        """Closes the parent run, where there is one."""
        if self.parent_id is None:
            return
        self._client.set_tag(self.parent_id, "supercm.status", status)
        self._set_status(self.parent_id, status, now_ms())

    def log_artifacts(self, paths: dict[Path, str]) -> None:
        """Logs files under the parent run, each into the artifact folder that it maps to ('' for the root)."""
        assert self.parent_id is not None
        for path, folder in paths.items():
            self._client.log_artifact(self.parent_id, str(path), folder or None)

    def log_metrics(self, figures: dict[str, float]) -> None:
        """Logs figures of the whole study as metrics of the parent run, for comparing studies."""
        assert self.parent_id is not None
        entities = [Metric(name, value, now_ms(), 0) for name, value in figures.items() if math.isfinite(value)]
        self._client.log_batch(self.parent_id, metrics=entities)

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        """Tags a run."""
        self._client.set_tag(run_id, name, value)

    def tag(self, run_id: str, name: str) -> str:
        """A tag of a run, empty where it has none."""
        return str(self._client.get_run(run_id).data.tags.get(name, ""))

    def child_id(self, key: str) -> str:
        """The MLflow run of the run with this key."""
        return self._children[key]

    def _find_experiment(self) -> str:
        name = experiment_name()
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another command made it in between
            made = self._client.get_experiment_by_name(name)
            if made is None:
                raise
            return str(made.experiment_id)

    def find_parent(self) -> bool:
        """Finds or makes the parent run, leaves the status of one found as it is, and says whether it was made."""
        study, folder = self._study, self._folder
        tags = {
            "supercm.kind": "study",
            "supercm.study": study.name,
            "supercm.study_id": folder.study_id,
            "supercm.study_hash": folder.identity,
            "supercm.num_trials": str(study.budget.num_trials),
            "supercm.num_seeds": str(study.num_seeds),
        }
        found = self._search(f"tags.`supercm.study_id` = '{folder.study_id}' and tags.`supercm.kind` = 'study'")
        described = bool(found) and _DESCRIBED in found[0].data.tags
        self.parent_id = str(found[0].info.run_id) if found else self._create(study.name, {**tags, **provenance()})
        if found:
            self._client.log_batch(self.parent_id, tags=[RunTag(name, value) for name, value in tags.items()])
        if not described:
            space = {f"space.{path}": distribution.model_dump() for path, distribution in study.space.items()}
            self._log_params(self.parent_id, {**study.base.leaves(), **space})
            self._client.set_tag(self.parent_id, _DESCRIBED, "1")
        return not found

    def _child(self, record: RunRecord) -> str:
        """The MLflow run of a record, made where there is none, and described where a kill came in between."""
        key = record.key
        if not self._recalled:
            self._recall_children()
        if key not in self._children:
            self._children[key] = self._create(key, self._child_tags(record), record.started_ms)
            self._written[key] = 0
        run_id = self._children[key]
        if key not in self._described:
            self._log_params(run_id, {**record.params, "label_budget": record.label_budget})
            self._client.log_artifact(run_id, str(self._folder.run(key).splits))
            self._client.set_tag(run_id, _DESCRIBED, "1")
            self._described.add(key)
        return run_id

    def _child_tags(self, record: RunRecord) -> dict[str, str]:
        return {
            **({"mlflow.parentRunId": self.parent_id} if self.parent_id else {}),
            "supercm.kind": record.kind,
            "supercm.study": self._study.name,
            "supercm.study_id": self._folder.study_id,
            "supercm.study_hash": self._folder.identity,
            "supercm.run": record.key,
            "supercm.label_budget": str(record.label_budget),
            **{f"supercm.{name}": str(value) for name, value in record.labels.items()},
            **provenance(),
        }

    def _recall_children(self) -> None:
        """Asks MLflow which runs of the study it has, and how many epochs of each."""
        self._recalled = True
        for run in self._search(f"tags.`supercm.study_id` = '{self._folder.study_id}'"):
            key = run.data.tags.get("supercm.run")
            if key:
                self._children[key] = run.info.run_id
                self._written[key] = int(run.data.metrics.get("epoch", 0))
                if _DESCRIBED in run.data.tags:
                    self._described.add(key)

    def _search(self, condition: str) -> list[Run]:
        page = self._client.search_runs([self._experiment_id], condition, max_results=1000)
        runs: list[Run] = list(page)
        while page.token:
            page = self._client.search_runs([self._experiment_id], condition, max_results=1000, page_token=page.token)
            runs += page
        return runs

    def _create(self, name: str, tags: dict[str, str], started_ms: int | None = None) -> str:
        run = self._client.create_run(self._experiment_id, start_time=started_ms or now_ms(), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _log_params(self, run_id: str, params: dict[str, Any]) -> None:
        entities = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entities), 100):
            self._client.log_batch(run_id, params=entities[start : start + 100])

    def _log_epochs(self, run_id: str, history: list[dict[str, float]]) -> None:
        """Whole epochs to a batch, so that the last `epoch` MLflow has says up to where it has everything."""
        step = max(1, _BATCH // len(history[0]))
        for start in range(0, len(history), step):
            entities = [
                Metric(name, value, int(metrics["timestamp_ms"]), int(metrics["epoch"]))
                for metrics in history[start : start + step]
                for name, value in metrics.items()
                if name != "timestamp_ms"
            ]
            self._client.log_batch(run_id, metrics=entities)

    def _log_record(self, run_id: str, record: RunRecord) -> None:
        tags = [RunTag("supercm.status", record.status), RunTag("supercm.reason", record.reason)]
        last = record.ended_ms or now_ms()
        metrics = [Metric(name, value, last, 0) for name, value in record.summary.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        self._set_status(run_id, record.status, record.ended_ms)

    def _set_status(self, run_id: str, status: str, ended_ms: int | None) -> None:
        name = RunStatus.to_string(_STATUS[status])
        if status == "running":
            self._client.update_run(run_id, status=name)
        else:
            self._client.set_terminated(run_id, status=name, end_time=ended_ms)


class BackgroundTracker:
    """A tracker behind a queue, so that a slow or absent MLflow never holds up training."""

    def __init__(self, tracker: Tracker) -> None:
        """Args: the tracker, which from now on only this one's thread uses until `close`."""
        self._tracker = tracker
        self._queue: queue.SimpleQueue[str | Callable[[], None] | None] = queue.SimpleQueue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def sync(self, key: str) -> None:
        """Has the run with this key mirrored soon."""
        self._queue.put(key)

    def call(self, write: Callable[[], None]) -> None:
        """Has something else written, after what was asked for before."""
        self._queue.put(write)

    def flush(self) -> None:
        """Waits until everything asked for so far was tried."""
        done = threading.Event()
        self._queue.put(done.set)
        done.wait()

    def close(self) -> None:
        """Waits until everything asked for was tried, then makes up for what failed."""
        self._queue.put(None)
        self._thread.join()
        self._attempt(self._tracker.sync_all)

    def _work(self) -> None:
        while True:
            keys = [self._queue.get()]
            while not self._queue.empty():
                keys.append(self._queue.get())
            for key in dict.fromkeys(key for key in keys if key is not None):
                self._attempt(key if callable(key) else partial(self._tracker.sync, key))
            if None in keys:
                return

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # whatever is wrong with MLflow, training is not to suffer from it
            if not self._failed:
                reason = without_credentials(str(error))
                logger.warning("MLflow does not take what it is sent, the study goes on and sends it later: %s", reason)
            self._failed = True


@contextmanager
def background(tracker: Tracker) -> Iterator[BackgroundTracker]:
    """The tracker behind a queue for the time of the block, everything written at its end."""
    writer = BackgroundTracker(tracker)
    try:
        yield writer
    finally:
        writer.close()


@cache
def provenance() -> dict[str, str]:
    """Tags that say what code made a run: versions of the packages, and the commit of this package or of the
    directory where the command was given.
    """
    tags = {f"supercm.version.{name}": version(name) for name in ("supercm-ray", "torch", "ray", "optuna", "mlflow")}
    tags["supercm.version.python"] = platform.python_version()
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["supercm.git_dirty"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    return tags


def _git(*words: str) -> str:
    folders = (Path(__file__).resolve().parent, Path.cwd())
    for folder in folders:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        except OSError:  # no git on this machine
            return ""
        if done.returncode == 0:
            return done.stdout.strip()
    return ""
