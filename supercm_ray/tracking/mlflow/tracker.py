"""The MLflow tracker: writes what MLflow lacks of the records on disk, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mlflow.entities import Run

from supercm_ray.config import Study
from supercm_ray.records import RunRecord, RunView, Status, StudyFolder, now_ms
from supercm_ray.tracking.mlflow.datasets import datasets
from supercm_ray.tracking.mlflow.describing import (
    best_epoch,
    provenance_tags,
    run_name,
    shared_view,
)
from supercm_ray.tracking.mlflow.model import log_model, register
from supercm_ray.tracking.mlflow.place import connect, how_to_open, tracking_uri
from supercm_ray.tracking.mlflow.runs import MlflowRuns
from supercm_ray.tracking.tracker import TrackedModel

_PARENT = "mlflow.parentRunId"
_DESCRIBED = "supercm.described"  # the tag of a run whose parameters and splits are all there
MODEL_URI, _MODEL_RUN = "supercm.model_uri", "supercm.best_run"  # the model under a run, and the run it comes from

PREEMPTED = "supercm.preempted"
"""The tag of a run that says whether a cluster ended it, or a request to end; `false` once it is taken up again."""


class MlflowTracker:
    """Tracks the runs of one study in MLflow: a parent run, and a child for each run folder."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        """Finds or creates the experiment.

        Raises:
            TrackingError: if MLflow does not answer or cannot be used.
        """
        self.uri = tracking_uri()
        self._study, self._folder = study, folder
        self._runs = MlflowRuns(*connect(self.uri))
        self._parent_id, self._has_parent = "", False  # a run that is trained alone has none
        self._children: dict[str, str] | None = None
        self._described: set[str] = set()
        self._written: dict[str, int] = {}
        self._last: dict[str, RunRecord] = {}
        self._curves: dict[str, dict[int, float]] = {}  # what MLflow has of the parent's metrics, by name and step

    @property
    def how_to_open(self) -> str:
        """The address of the study's runs on the server, or the command that serves the database and, on a line
        of its own, the address there.
        """
        view = f"/#/experiments/{self._runs.experiment_id}/runs"
        if self._parent_id:
            view += f"?viewStateShareKey={_share_key(self._folder.study_id)}"
        return how_to_open(self.uri, view)

    def open_study(self) -> str:
        """Finds or creates the parent run and sets it running; runs written from now on are its children."""
        self.attach_study()
        self._runs.set_tags(self._parent_id, {PREEMPTED: _yes_or_no(False)})
        self._runs.set_status(self._parent_id, "running")
        return self._parent_id

    def attach_study(self) -> bool:
        """Finds or creates the parent run and returns whether it is open."""
        study, folder, self._has_parent = self._study, self._folder, True
        tags = {
            **self._study_tags(),
            "supercm.kind": "study",
            "supercm.num_trials": str(study.budget.num_trials),
            "supercm.num_seeds": str(study.num_seeds),
            "supercm.varied": ", ".join(study.varied_paths),
        }
        found = self._runs.search(f"tags.`supercm.study_id` = '{folder.study_id}' and tags.`supercm.kind` = 'study'")
        if found:
            self._parent_id = str(found[0].info.run_id)
            for double in found[1:]:  # a request that was slower than we waited for its answer
                self._runs.client.delete_run(double.info.run_id)
            self._runs.set_tags(self._parent_id, tags)
        else:
            self._parent_id = self._runs.create(study.name, {**tags, **provenance_tags()})
        if not found or _DESCRIBED not in found[0].data.tags:
            space = {f"space.{path}": distribution.model_dump() for path, distribution in study.space.items()}
            self._runs.log_params(self._parent_id, {**study.base.leaves(), **space})
            self._runs.client.set_experiment_tag(
                self._runs.experiment_id,
                f"mlflow.sharedViewState.{_share_key(folder.study_id)}",
                shared_view(study, folder.study_id),
            )
            self._runs.set_tags(self._parent_id, {_DESCRIBED: "1"})
        return not found or found[0].info.status == "RUNNING"

    def _parent(self) -> str:
        """Returns the id of the parent run, empty if there is to be none. Attaches it if that has failed before."""
        if self._has_parent and not self._parent_id:
            self.attach_study()
        return self._parent_id

    def sync(self, key: str) -> None:
        """Writes what MLflow lacks of the run with this key, its epochs in one call, and its status."""
        folder = self._folder.run(key)
        run = folder.latest()
        if run is not None and not self._follows(run):
            run = folder.view()
        if run is not None:
            self._sync(run)

    def _follows(self, run: RunView) -> bool:
        """Returns whether the last epochs of a run are all that MLflow lacks of it."""
        known = self._written.get(run.record.key, -1)
        return (
            self._last.get(run.record.key) == run.record and bool(run.history) and run.history[0]["epoch"] <= known + 1
        )

    def _sync(self, run: RunView) -> None:
        key, run_id = run.record.key, self._child(run.record)
        missing = [metrics for metrics in run.history if metrics["epoch"] > self._written[key]]
        if missing:
            written = partial(self._written.__setitem__, key)
            self._runs.log_epochs(run_id, missing, written, first=self._study.primary.metric)
        if self._last.get(key) != run.record:
            self._log_record(run_id, run)
            self._last[key] = run.record
        self._describe(run.record, run_id)

    def sync_all(self) -> None:
        """Writes what MLflow lacks of any run of the study."""
        for run in self._folder.views():
            self._sync(run)

    def close_study(self, status: Status) -> None:
        """Closes the parent run, if there is one."""
        if self._parent():
            preempted = status == "interrupted" and self._folder.session_file.was_preempted()
            self._runs.set_tags(self._parent_id, {"supercm.status": status, PREEMPTED: _yes_or_no(preempted)})
            self._runs.set_status(self._parent_id, status, now_ms())

    def log_files(self, files: Mapping[Path, str]) -> None:
        """Stores files as artifacts of the parent run."""
        for path, folder in files.items():
            self._runs.client.log_artifact(self._parent(), str(path), folder or None)

    def log_note(self, text: str) -> None:
        """Replaces the description of the parent run, Markdown, to which the address of the page is added."""
        page = f"#/experiments/{self._runs.experiment_id}/runs/{self._parent()}/artifacts/report.html"
        self._runs.set_tags(self._parent_id, {"mlflow.note.content": f"{text}\n\nThe page: [report.html]({page})"})

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs metrics of the parent run, those that have changed."""
        parent, unread = self._parent(), metrics.keys() - self._curves.keys()
        if unread:
            known = self._runs.client.get_run(parent).data.metrics
            for name in unread:
                self._curves[name] = self._runs.curve(parent, name) if name in known else {}
        changed = {name: value for name, value in metrics.items() if self._curves[name].get(step) != value}
        self._runs.log_metrics(parent, changed, now_ms(), step)
        for name, value in changed.items():
            self._curves[name][step] = value

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        """Stores a model as a torch.export program under its run, and its address as a tag."""
        if not self.run_id(model.run):
            self.sync(model.run)
        run_id = self.run_id(model.run)
        tags, run = self._runs.tags(run_id), self._folder.run(model.run).view()
        uri = tags.get(MODEL_URI, "")
        if not uri:
            used = {} if run is None else datasets(self._folder, run.record)
            uri = log_model(self._runs, run_id, model, run, {use: one.dataset for use, one in used.items()})
            self._runs.set_tags(run_id, {MODEL_URI: uri})
        if is_best and self._parent():
            self._runs.set_tags(self._parent_id, {MODEL_URI: uri, _MODEL_RUN: model.run})
        return uri

    def register_model(self, uri: str, name: str) -> str:
        """Makes a stored model a version of a registered model, and returns the version."""
        return register(self._runs.client, uri, name)

    def run_id(self, key: str | None = None) -> str:
        """MLflow's id of a run."""
        return self._parent_id if key is None else self._known_children().get(key, "")

    def _child(self, record: RunRecord) -> str:
        """Returns the MLflow run of a record; creates it if there is none, and completes it if a kill left it without a
        description.
        """
        key, children = record.key, self._known_children()
        if key not in children:
            try:
                children[key] = self._runs.create(
                    run_name(record, self._study), self._child_tags(record), record.started_ms
                )
            except Exception:
                self._children = None  # it may have been created and the answer lost: look before the next attempt
                raise
            self._written[key] = 0
        if key not in self._described:
            self._runs.log_params(children[key], {**record.params, "label_budget": record.label_budget})
        return children[key]

    def _describe(self, record: RunRecord, run_id: str) -> None:
        """Stores the splits of a run, after its metrics, which do not need a place for artifacts."""
        key = record.key
        if key not in self._described:
            used = datasets(self._folder, record)
            if used:
                self._runs.client.log_inputs(run_id, list(used.values()))
            splits = self._folder.run(key).splits
            if splits.exists():
                self._runs.client.log_artifact(run_id, str(splits))
            self._runs.set_tags(run_id, {_DESCRIBED: "1"})
            self._described.add(key)

    def _known_children(self) -> dict[str, str]:
        """Returns the MLflow runs by key; the first time it asks MLflow for them and for the number of
        epochs of each.
        """
        if self._children is None:
            children: dict[str, str] = {}
            found = self._runs.search(f"tags.`supercm.study_id` = '{self._folder.study_id}'")
            for run in sorted(found, key=_most_complete):
                key = run.data.tags.get("supercm.run")
                if key in children:  # a request that was slower than we waited for its answer
                    self._runs.client.delete_run(run.info.run_id)
                elif key:
                    children[key] = str(run.info.run_id)
                    self._adopt(run)
                    self._written[key] = int(run.data.metrics.get("epoch", 0))
                    if _DESCRIBED in run.data.tags:
                        self._described.add(key)
            self._children = children
        return self._children

    def _adopt(self, run: Run) -> None:
        """Makes a run a child of the parent run, if it was created while that could not be."""
        parent = self._parent()
        if parent and run.data.tags.get(_PARENT) != parent:
            self._runs.set_tags(run.info.run_id, {_PARENT: parent})

    def _log_record(self, run_id: str, run: RunView) -> None:
        record = run.record
        tags = {"supercm.status": record.status, "supercm.reason": record.reason}
        self._runs.set_tags(run_id, {**tags, PREEMPTED: _yes_or_no(record.preempted)})
        if record.ended_ms is not None:
            self._runs.log_metrics(run_id, record.summary, record.ended_ms)
            self._runs.log_metrics(run_id, best_epoch(self._study, run.history), record.ended_ms)
        self._runs.set_status(run_id, record.status, record.ended_ms)

    def _study_tags(self) -> dict[str, str]:
        return {
            "supercm.study": self._study.name,
            "supercm.study_id": self._folder.study_id,
            "supercm.study_hash": self._folder.identity,
        }

    def _child_tags(self, record: RunRecord) -> dict[str, str]:
        return {
            **self._study_tags(),
            **({_PARENT: parent} if (parent := self._parent()) else {}),
            "supercm.kind": record.kind,
            "supercm.run": record.key,
            "supercm.label_budget": str(record.label_budget),
            "supercm.num_labeled": str(record.num_labeled),
            "supercm.num_unlabeled": str(record.num_unlabeled),
            **{f"supercm.{name}": str(value) for name, value in record.labels.items()},
            **provenance_tags(),
        }


def _share_key(study_id: str) -> str:
    return f"supercm-{study_id}"


def _yes_or_no(value: bool) -> str:
    return str(value).lower()


def _most_complete(run: Run) -> tuple[float, int]:
    """Returns a key by which the run with the most epochs comes first, and of several the oldest."""
    return -run.data.metrics.get("epoch", 0), run.info.start_time
