"""A study and its folder, and reading MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from supercm_ray.config import Study, load_study
from supercm_ray.records import StudyFolder
from supercm_ray.tracking.mlflow.place import connect


@pytest.fixture
def study() -> Study:
    return load_study(Path(__file__).parents[2] / "search_spaces" / "digits.yaml")


@pytest.fixture
def folder(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "SUPERCM_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    return StudyFolder.open(tmp_path / "results", study.name, study.identity())


def client() -> MlflowClient:
    """A client of the database in the working directory."""
    return MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")


def runs() -> dict[str, Run]:
    """MLflow's runs by key, the parent run as `study`."""
    experiment = client().get_experiment_by_name("supercm_ray")
    assert experiment is not None
    return {run.data.tags.get("supercm.run", "study"): run for run in client().search_runs([experiment.experiment_id])}


def epochs(key: str, name: str = "val/accuracy") -> list[tuple[int, float]]:
    """What MLflow has of a metric of a run."""
    return [(metric.step, metric.value) for metric in client().get_metric_history(runs()[key].info.run_id, name)]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's without runs, which takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    """A copy of it in the working directory."""
    return shutil.copy(empty_database, tmp_path / "mlflow.db")
