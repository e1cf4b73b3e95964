"""Whether records, Optuna and MLflow agree about a study that has come to its end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run
from studies import check_tracked

from supercm_ray.records import StudyFolder, read_study
from supercm_ray.search import StudyView, best_by_group

_STATES = {"complete": "COMPLETE", "pruned": "PRUNED"}


def check_study(path: Path, database: Path) -> StudyView:
    """Every trial is there once, none failed, none is open, and the best is what the records say.

    Args:
        path: the study's folder.
        database: the SQLite file behind MLflow.
    """
    folder = StudyFolder.existing(path)
    view = StudyView.read(read_study(path), folder)
    assert [trial.number for trial in view.trials] == list(range(view.study.budget.num_trials))
    assert set(view.statuses) <= set(_STATES), {t.record.key: t.record.reason for t in view.trials}
    assert {run.record.status for run in view.finalists} <= {"complete"}
    assert len(view.finalists) == len(view.planned)
    for run in view.runs.values():
        assert [metrics["epoch"] for metrics in run.history] == list(range(1, run.num_epochs + 1))
    _check_optuna(view)
    client = MlflowClient(f"sqlite:///{database}")
    check_tracked(folder, client, tracked_runs(client, folder))
    return view


def _check_optuna(view: StudyView) -> None:
    stored = optuna.load_study(study_name=view.study.name, storage=view.folder.optuna_url)
    states = {trial.number: trial.state.name for trial in stored.trials}
    assert states == {trial.number: _STATES[str(trial.record.status)] for trial in view.trials}
    best = best_by_group(view.study, view.trials)
    assert {stored.best_trial.number} == {trial.number for trial in best.values()}


def tracked_runs(client: MlflowClient, folder: StudyFolder) -> list[Run]:
    """Returns what MLflow has of a study, itself included."""
    found = client.get_experiment_by_name("supercm_ray")
    assert found is not None
    query = f"tags.`supercm.study_id` = '{folder.study_id}'"
    return list(client.search_runs([found.experiment_id], query, max_results=1000))


def statuses(path: Path) -> Counter[str]:
    """Returns the number of runs of each status by the records of a study."""
    return Counter(record.status for record in StudyFolder.existing(path).runs())


def check_closed(path: Path, database: Path, *, preempted: bool) -> None:
    """What was interrupted is closed: no record and no run of MLflow is RUNNING.

    Args:
        preempted: whether somebody else than the user asked for the end.
    """
    folder = StudyFolder.existing(path)
    assert "running" not in statuses(path)
    runs = tracked_runs(MlflowClient(f"sqlite:///{database}"), folder)
    open_runs = [run.info.run_name for run in runs if run.info.status in ("RUNNING", "SCHEDULED")]
    assert not open_runs
    keys = {record.key for record in folder.runs() if record.status == "interrupted"}
    parents = [run for run in runs if run.data.tags["supercm.kind"] == "study"]
    assert [run.data.tags["supercm.status"] for run in parents] == ["interrupted"]
    tagged = {run.data.tags.get("supercm.run", "") for run in runs if run.data.tags.get("supercm.preempted") == "true"}
    assert tagged == ({*keys, ""} if preempted else set())
