"""What must stand after each round of the fire drill, read from records, Optuna and MLflow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from fire_commands import FOLDERS
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from supercm_ray.records import RunView, StudyFolder

_STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "interrupted": "KILLED"}
_SQLITE = "sqlite:///"
_OF_TIME = {"timestamp_ms", "epoch_seconds", "digest"}
_WEIGHT = "algorithm.clustering_weight"
EXPECTED = {
    "tune": {"trial": 3, "finalist": 1},
    "tune ray": {"trial": 3, "finalist": 1},
    "report": {"trial": 3, "finalist": 1},
    "train": {"train": 1},
    "scale": {"scale": 1},
}
"""How many runs of each kind a study has in the end."""


@dataclass(frozen=True)
class Reference:
    """A study that nothing disturbed: the metrics of each run without its times, and the weight that won."""

    metrics: Mapping[str, list[dict[str, float]]]
    winner: object

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Reads a finished study."""
        views = views_of(path)
        return cls({key: without_times(view) for key, view in views.items()}, winner(views))


def views_of(path: Path) -> dict[str, RunView]:
    """Returns the runs of a study by key."""
    return {view.record.key: view for view in StudyFolder.existing(path).views()}


def without_times(view: RunView) -> list[dict[str, float]]:
    """Returns the metrics of each epoch without those that are different each time."""
    return [{name: epoch[name] for name in epoch if not _differs(name)} for epoch in view.history]


def _differs(name: str) -> bool:
    return name in _OF_TIME or name.startswith("system/")


def winner(views: Mapping[str, RunView]) -> object:
    """Returns the weight of the finalist, None where there is none."""
    return next((view.record.overrides[_WEIGHT] for view in views.values() if view.record.kind == "finalist"), None)


def broken(results: Path, command: str, uri: str, experiment: str, reference: Reference | None) -> list[str]:
    """Returns what does not stand, in words that are the same for the same kind."""
    path = next(results.glob(FOLDERS[command]), None)
    if path is None:
        return ["records: no study"]
    views = views_of(path)
    found = [*_of_records(views, command, reference)]
    if command.startswith("tune"):
        found += _of_optuna(path, views, reference)
    return [*found, *_of_mlflow(views, command, MlflowClient(uri), experiment, reference)]


def left_open(uri: str, experiment: str) -> list[str]:
    """Returns whether MLflow has an open run, in the words of `broken`. A database that is not there is not made."""
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists():
        return []
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id]) if found else []
    return ["MLflow: a run is RUNNING"] if any(run.info.status == "RUNNING" for run in runs) else []


def _of_records(views: Mapping[str, RunView], command: str, reference: Reference | None) -> Iterator[str]:
    counts = Counter(view.record.kind for view in views.values())
    if counts != EXPECTED[command]:
        yield f"records: {dict(counts)}"
    for status in {view.record.status for view in views.values()} - {"complete"}:
        yield f"records: a run is {status}"
    if reference is not None and reference.metrics.keys() != views.keys():
        yield "records: other runs than undisturbed"
    elif reference is not None:
        if not all(_alike(without_times(view), reference.metrics[key]) for key, view in views.items()):
            yield "records: other metrics than undisturbed"
        if winner(views) != reference.winner:
            yield "records: another winner"


def _alike(one: list[dict[str, float]], other: list[dict[str, float]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(_same(a[name], b[name], 1e-4) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def _same(one: float, other: float, tolerance: float = 0.0) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=tolerance)


def _of_optuna(path: Path, views: Mapping[str, RunView], reference: Reference | None) -> Iterator[str]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{path / 'optuna.db'}")
    trials = study.get_trials(deepcopy=False)
    if [trial.state.name for trial in trials] != ["COMPLETE"] * 3:
        yield f"Optuna: {dict(Counter(trial.state.name for trial in trials))}"
        return
    for trial in trials:
        view = views.get(f"trials/{trial.number:04d}")
        epochs = {int(epoch["epoch"]): epoch["val/accuracy"] for epoch in view.history} if view else {}
        if trial.intermediate_values != epochs:
            yield "Optuna: other epochs than the records"
    if reference is not None and study.best_trial.params[_WEIGHT] != reference.winner:
        yield "Optuna: another winner"


def _of_mlflow(
    views: Mapping[str, RunView],
    command: str,
    client: MlflowClient,
    experiment: str,
    reference: Reference | None,
) -> Iterator[str]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        yield "MLflow: no experiment"
        return
    runs = list(client.search_runs([found.experiment_id], run_view_type=ViewType.ACTIVE_ONLY, max_results=1000))
    parents = [run for run in runs if run.data.tags.get("supercm.kind") == "study"]
    children = {run.data.tags.get("supercm.run", ""): run for run in runs if run not in parents}
    yield from _of_runs(runs, len(parents), len(children), views, command)
    for key in children.keys() & views.keys():
        yield from _of_run(client, children[key], views[key], parents)
    for parent in parents:
        yield from _of_parent(client, parent, children, command, reference)
    yield from _of_models(client, found.experiment_id, children, command)


def _of_runs(
    runs: list[Run], num_parents: int, num_children: int, views: Mapping[str, RunView], command: str
) -> Iterator[str]:
    if any(run.info.status in ("RUNNING", "SCHEDULED") for run in runs):
        yield "MLflow: a run is RUNNING"
    if num_parents != (command != "train"):
        yield f"MLflow: {num_parents} parents"
    if num_children + num_parents != len(runs):
        yield "MLflow: a run twice"
    if {run.data.tags.get("supercm.run") for run in runs} - {None} != views.keys():
        yield f"MLflow: {num_children} of {len(views)} runs"


def _of_run(client: MlflowClient, run: Run, view: RunView, parents: list[Run]) -> Iterator[str]:
    record = view.record
    if run.info.status != _STATUSES.get(record.status) or run.data.tags.get("supercm.status") != record.status:
        yield f"MLflow: status of a {record.kind}"
    if parents and run.data.tags.get("mlflow.parentRunId") != parents[0].info.run_id:
        yield "MLflow: a run without its parent"
    if not {*record.params, "label_budget"} <= run.data.params.keys():
        yield "MLflow: parameters"
    for name in {name for epoch in view.history for name in epoch} - {"timestamp_ms", "digest"}:
        expected = [(int(epoch["epoch"]), epoch[name]) for epoch in view.history if name in epoch]
        if not _equal(_history(client, run, name), expected):
            yield "MLflow: epochs of a metric"
    for name, value in record.summary.items():
        if math.isfinite(value) and not _equal(_history(client, run, name), [(0, value)]):
            yield "MLflow: summary"
    if not any(one.path == "splits.npz" for one in client.list_artifacts(run.info.run_id)) and view.history:
        yield "MLflow: no splits"


def _history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, name))


def _equal(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> bool:
    return [step for step, _ in one] == [step for step, _ in other] and all(
        _same(a, b) for (_, a), (_, b) in zip(one, other, strict=True)
    )


def _of_parent(
    client: MlflowClient, parent: Run, children: Mapping[str, Run], command: str, reference: Reference | None
) -> Iterator[str]:
    if parent.info.status != "FINISHED" or parent.data.tags.get("supercm.status") != "complete":
        yield f"MLflow: the parent is {parent.info.status}, {parent.data.tags.get('supercm.status')}"
    for name in parent.data.metrics:
        if _has_doubled(_history(client, parent, name)):
            yield "MLflow: a metric of the parent twice"
    page = "scaling.html" if command == "scale" else "report.html"
    if not any(one.path == page for one in client.list_artifacts(parent.info.run_id)):
        yield "MLflow: no page"
    if command.startswith("tune"):
        best = children.get(parent.data.tags.get("supercm.best_run", ""))
        if best is None or (reference and best.data.params.get(_WEIGHT) != f"{reference.winner}"):
            yield "MLflow: another winner"


def _has_doubled(history: Iterable[tuple[int, float]]) -> bool:
    return any(count > 1 for count in Counter(step for step, _ in history).values())


def _of_models(client: MlflowClient, experiment_id: str, children: Mapping[str, Run], command: str) -> Iterator[str]:
    """Each finalist and each trained run has one model; a report alone stores none."""
    owners = {
        run.info.run_id for run in children.values() if run.data.tags.get("supercm.kind") in ("finalist", "train")
    }
    models = client.search_logged_models([experiment_id])
    ready = Counter(model.source_run_id for model in models if model.status.name == "READY")
    if any(model.status.name == "PENDING" for model in models):
        yield "MLflow: a model is pending"
    if any(count > 1 for count in ready.values()):
        yield "MLflow: a model twice"
    if command != "report" and ready.keys() != owners:
        yield f"MLflow: {len(ready)} of {len(owners)} models"
