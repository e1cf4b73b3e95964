"""A study of few epochs that runs in the calling process."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import STUDY, Place

from supercm_ray.config import Study, load_study

SHORT = {
    **STUDY,
    "space": {key: STUDY["space"][key] for key in ("algorithm.clustering_weight", "training.learning_rate")},
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "budget": {"num_trials": 6, "max_concurrent_trials": 1},
    "enqueued_trials": [{"training.learning_rate": rate} for rate in (1e-2, 1e30, 1e-4)],
    "num_seeds": 1,
}
"""One objective, so that Optuna is told every epoch; one trial of the first three diverges."""


@pytest.fixture
def short(place: Place, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study of the place's file, of six trials and two finalists, its directory being the current one."""
    place.write(**SHORT)
    monkeypatch.chdir(place.path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return load_study(place.path / "tiny.yaml")


@pytest.fixture
def other_place(tmp_path: Path, empty_mlflow: Path) -> Place:
    """Another directory with the same study."""
    path = tmp_path / "other"
    path.mkdir()
    made = Place.make(path, empty_mlflow)
    made.write(**SHORT)
    return made
