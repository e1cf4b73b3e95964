"""The plots: what they show, and that nothing in a study makes them fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from supercm_ray.config import Study
from supercm_ray.records import StudyFolder
from supercm_ray.reporting.style import to_svg
from supercm_ray.search import StudyView
from supercm_ray.tuning.report import Report, plots, prediction_plots
from supercm_ray.tuning.report.draw import draw_plots
from supercm_ray.tuning.report.frontier import frontier
from supercm_ray.tuning.report.view import ReportData, StoredPredictions, gather

from .synthetic import Maker


@pytest.fixture(scope="module")
def data(study: Study, finished: tuple[StudyFolder, Report]) -> ReportData:
    return gather(StudyView.read(study, finished[0]))


def predictions(num_classes: int = 3, num_samples: int = 30, num_features: int = 5) -> StoredPredictions:
    rng = np.random.default_rng(0)
    labels = np.arange(num_samples) % num_classes
    return StoredPredictions(
        confusion=np.diag(np.bincount(labels, minlength=num_classes)),
        features=rng.standard_normal((num_samples, num_features)).astype(np.float32),
        labels=labels,
        predictions=labels,
        centroids=rng.standard_normal((num_classes, num_features)).astype(np.float32),
        seen=np.arange(num_classes) > 0,
    )


def test_frontier_is_logarithmic_and_shows_the_table(data: ReportData) -> None:
    (axes,) = frontier(data).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "data.label_ratio"
    tuned = [100 * row.test_accuracy[0] for row in data.rows if row.arm == "tuned"]
    assert any(np.array_equal(line.get_ydata(), tuned) for line in axes.lines)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.02", "0.05", "0.1"]


def test_history_follows_the_best_complete_trial(data: ReportData) -> None:
    (axes,) = plots.history(data).axes
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == len(data.groups) == 4
    for group, line in zip(data.groups, steps, strict=True):
        complete = [
            100 * view.metrics["val/accuracy"]
            for view in data.trials
            if view.record.status == "complete" and data.study.group(view.record.overrides) == group
        ]
        assert np.max(line.get_ydata()) == pytest.approx(max(complete))


def test_values_stand_on_the_scale_of_their_distribution(data: ReportData) -> None:
    (axes,) = plots.value(data, "algorithm.temperature").axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "algorithm.temperature"
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert len(hollow) == data.statuses["pruned"]


def test_pca_keeps_what_varies() -> None:
    features = np.zeros((50, 4))
    features[:, 2] = np.linspace(-3, 3, 50)
    features[:, 1] = 0.1 * np.cos(np.arange(50))
    points, centroids, explained = prediction_plots.project(features, features[:2])
    assert abs(np.corrcoef(points[:, 0], features[:, 2])[0, 1]) == pytest.approx(1)
    assert np.allclose(centroids, points[:2])
    assert explained.sum() == pytest.approx(1)


def test_pca_of_constant_features_explains_nothing() -> None:
    points, centroids, explained = prediction_plots.project(np.ones((6, 3)), np.ones((2, 3)))
    assert (points.shape, centroids.shape, explained.tolist()) == ((6, 2), (2, 2), [0, 0])
    assert np.allclose(points, 0)


@pytest.mark.parametrize(("num_samples", "num_features"), [(1, 5), (30, 1), (2500, 3)])
def test_embedding_of_odd_shapes(num_samples: int, num_features: int) -> None:
    found = predictions(num_samples=num_samples, num_features=num_features)
    assert "<svg" in to_svg(prediction_plots.embedding(found, ["a", "b", "c"]))


def test_embedding_names_the_centroids_seen() -> None:
    (axes,) = prediction_plots.embedding(predictions(), ["cat", "dog", "cow"]).axes
    assert [text.get_text() for text in axes.texts] == ["dog", "cow"]


@pytest.mark.parametrize("num_classes", [2, 10, 60])
def test_confusion_of_any_size(num_classes: int) -> None:
    found = predictions(num_classes=num_classes, num_samples=4 * num_classes)
    names = [f"class $_{k}^$" for k in range(num_classes)]
    figure = prediction_plots.confusion(found.confusion, names)
    assert len(figure.axes[0].texts) == (num_classes**2 if num_classes <= 25 else 0)
    assert "<svg" in to_svg(figure)
    assert "<svg" in to_svg(prediction_plots.embedding(found, names))


def test_study_without_groups_and_with_choices(study: Study, tmp_path: Path) -> None:
    tree = study.model_dump(mode="json")
    del tree["space"]["data.label_ratio"]
    tree["space"]["algorithm.centroid_rule"] = {"type": "categorical", "choices": ["ema", "class_count"]}
    tree |= {"objective": [tree["objective"][0]], "enqueued_trials": []}
    single = Study.model_validate_json(json.dumps(tree))
    folder = StudyFolder.open(tmp_path, single.name, single.identity())
    Maker(single, folder).trials(8).finalists()
    found = gather(StudyView.read(single, folder))
    names = {drawn.name for drawn in draw_plots(found, tmp_path / "plots")}
    assert {"frontier", "history", "importances", "value-algorithm.centroid_rule", "confusion"} <= names
    (axes,) = frontier(found).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["trials", "tuned", "baseline"]


def test_one_seed_has_no_error_bar(data: ReportData) -> None:
    rows = [replace(row, test_accuracy=(0.8, float("nan"))) for row in data.rows]
    assert "<svg" in to_svg(frontier(replace(data, rows=rows)))


def test_plots_leave_matplotlib_settings_alone(data: ReportData) -> None:
    before = dict(mpl.rcParams)
    to_svg(plots.importances(data))
    assert dict(mpl.rcParams) == before
