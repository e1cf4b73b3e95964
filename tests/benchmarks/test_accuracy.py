"""The accuracy table: its rows, its fairness, and that the README shows what the JSON holds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import accuracy
import pytest
from accuracy_rows import ARMS, WITH, WITHOUT, Row, Suite, rows
from accuracy_table import BEGIN, END, between_markers, put_into, table

ROOT = Path(__file__).parents[2]
ROWS = list(rows())
WEIGHT = "algorithm.clustering_weight"


def test_every_row_that_is_asked_for_is_there_once() -> None:
    ssl, uda = ("supervised", "vat", "fixmatch"), ("supervised", "dann", "cdan", "mcc")
    expected = {f"digits/{algorithm}/{labels}" for algorithm in ssl for labels in (1, 2, 4, 10)}
    expected |= {f"digits/{algorithm}/4" for algorithm in ("pi_model", "mean_teacher", "pseudo_label")}
    for name in ("mnist", "fashion_mnist"):
        expected |= {f"{name}/{algorithm}/{labels}" for algorithm in ("supervised", "fixmatch") for labels in (1, 10)}
    for source, target in permutations(("amazon", "webcam", "dslr"), 2):
        expected |= {f"office-{source}-{target}/{algorithm}" for algorithm in uda}
    for pair in ("usps-mnist", "mnist-usps"):
        expected |= {f"{pair}/{algorithm}" for algorithm in ("supervised", "dann")}
    expected |= {f"cifar10/{algorithm}/{labels}" for algorithm in ssl for labels in (4, 25, 400)}
    assert sorted(row.key for row in ROWS) == sorted(expected)
    few = ("mnist", "fashion", "usps", "cifar10")
    assert {row.suite.num_seeds for row in ROWS if not row.suite.name.startswith(few)} == {5}
    assert {row.suite.num_seeds for row in ROWS if row.suite.name.startswith(few)} == {3}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_arms_differ_in_the_clustering_weight_alone(row: Row) -> None:
    without, with_module = (row.study(arm) for arm in (WITHOUT, WITH))
    assert without.base.algorithm.clustering_weight == 0
    assert without.base.replace({WEIGHT: with_module.base.algorithm.clustering_weight}) == with_module.base
    assert {**without.space, WEIGHT: with_module.space[WEIGHT]} == with_module.space
    assert WEIGHT not in without.space
    for name in ("budget", "sampler", "scheduler", "objective", "num_seeds"):
        assert getattr(without, name) == getattr(with_module, name)
    enqueued_trials = [
        {k: v for k, v in study.enqueued_trials[0].items() if k != WEIGHT} for study in (without, with_module)
    ]
    assert enqueued_trials[0] == enqueued_trials[1]
    assert not without.baseline
    assert not with_module.baseline
    assert "algorithm.temperature" not in with_module.space
    assert (with_module.primary.metric.startswith("target/")) == (with_module.base.data.target is not None)


def entry(without: list[float], with_module: list[float]) -> dict[str, Any]:
    """A row of the JSON with these test accuracies."""
    arms = {
        arm: {"labels": 190, "seconds": 31.0, "test_accuracy": {str(i): value for i, value in enumerate(values, 1)}}
        for arm, values in ((WITHOUT, without), (WITH, with_module))
    }
    return {"suite": "digits", "algorithm": "vat", "labels_per_class": 1, "search": {"num_trials": 6}, **arms}


def test_a_row_shows_both_arms_and_stresses_what_is_shown() -> None:
    tree = {"rows": {"a": entry([0.8, 0.9], [0.9, 0.9]), "b": entry([0.9, 0.9], [0.5, 0.51])}}
    lines = table(tree).splitlines()
    assert lines[0] == "Of 2 rows the module helps in 0 and hurts in 1; in 1 neither is shown."
    assert lines[-2] == "| digits | vat | 1 | 190 | 85.0 ± 7.1 | 90.0 ± 0.0 | +5.0 | 2 × 6 | 1:02 |"
    assert lines[-1] == "| digits | vat | 1 | 190 | 90.0 ± 0.0 | 50.5 ± 0.7 | **−39.5** | 2 × 6 | 1:02 |"
    single = table({"rows": {"a": entry([0.1], [0.9])}}).splitlines()
    assert single[0] == "Of 1 rows the module helps in 0 and hurts in 0; in 1 neither is shown."
    assert "| +80.0 |" in single[-1]


def test_the_table_is_put_between_the_markers_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("no markers\n")
    put_into(path, "new")
    assert path.read_text() == "no markers\n"


def test_the_readme_shows_what_the_json_holds() -> None:
    tree = json.loads(accuracy.JSON.read_text(encoding="utf-8"))
    assert between_markers((ROOT / "README.md").read_text(encoding="utf-8")) == table(tree)
    known = {row.key: row for row in ROWS}
    assert {key for key in known if not key.startswith("cifar10")} <= set(tree["rows"]) <= set(known)
    assert set(tree["versions"]) >= {"python", "torch", "ray", "optuna"}
    assert tree["hardware"]
    for key, row in tree["rows"].items():
        assert row["command"] == f"python benchmarks/accuracy.py --only {key}"
        assert row["commit"]
        for arm in ARMS:
            study = known[key].study(arm)
            assert list(row[arm]["test_accuracy"]) == [str(i + 1) for i in range(study.num_seeds)]
            assert len(row[arm]["trials"]) == row["search"]["num_trials"] == study.budget.num_trials
            assert row["selected_by"] == study.primary.metric
            assert all(study.space[path].contains(value) for path, value in row[arm]["chosen"].items())


@pytest.mark.parametrize("row", [row for row in ROWS if not row.suite.gpus_per_trial], ids=lambda row: row.key)
def test_a_row_of_the_table_was_run_as_it_would_be_now(row: Row) -> None:
    known = json.loads(accuracy.JSON.read_text(encoding="utf-8"))["rows"]
    assert accuracy._is_done(row, known.get(row.key)), f"run {accuracy.COMMAND} --only {row.key}"


def test_rows_are_named_by_how_they_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy.main(["--list", "--only", "digits/vat"]) == 0
    assert capsys.readouterr().out.split() == [f"digits/vat/{labels}" for labels in (1, 2, 4, 10)]
    for key in ("digits/vat/1", "digits/vat/10", "office-amazon-dslr/dann"):
        assert accuracy.main(["--list", "--only", key]) == 0
        assert capsys.readouterr().out.split() == [key]
    assert accuracy.main(["--list"]) == 0
    assert "cifar10" not in capsys.readouterr().out
    assert accuracy.main(["--only", "nothing"]) == 2
    assert "--list" in capsys.readouterr().err


def test_a_share_without_a_row_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "digits/vat/1", "--share", "1/2", "--work", str(tmp_path), "--json", str(tmp_path / "a.json")]
    assert accuracy.main(words) == 0
    assert capsys.readouterr().out == "nothing to run, 0 rows are done; --again runs them anew\n"


def test_rows_that_are_done_are_run_again_in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, folders = next(row for row in ROWS if row.key == "digits/vat/1"), []
    monkeypatch.setattr(accuracy, "ray_session", contextlib.nullcontext)
    monkeypatch.setattr(accuracy, "_is_done", lambda row, known: True)
    monkeypatch.setattr(accuracy, "tune", lambda study, results, plots: folders.append(results))
    monkeypatch.setattr(accuracy, "_metrics", lambda result: {})
    monkeypatch.setattr(accuracy, "_put", lambda row, arms, path, readme: None)
    for again in (False, True, True):
        assert accuracy.run([row], tmp_path / "work", tmp_path / "a.json", tmp_path / "b.md", again=again) == 0
    assert [folder.parent for folder in folders] == [tmp_path / "work"] * 4
    assert folders[0] == folders[1] != folders[2] == folders[3]


@pytest.mark.slow
def test_a_row_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    digits: Suite = next(row.suite for row in ROWS if row.suite.name == "digits")
    training = {**digits.training, "steps_per_epoch": 2}
    row = Row(dataclasses.replace(digits, training=training, num_trials=2, num_seeds=2), "supervised", 4)
    monkeypatch.setattr(accuracy, "rows", lambda: iter([row]))
    readme, figures = tmp_path / "README.md", tmp_path / "results" / "a.json"
    readme.write_text(f"{BEGIN}\n{END}\n")
    for _ in range(2):
        assert accuracy.run([row], tmp_path / "work", figures, readme) == 0
    assert capsys.readouterr().out == f"1/1 {row.key}\nnothing to run, 1 rows are done; --again runs them anew\n"
    tree = json.loads(figures.read_text())
    assert between_markers(readme.read_text()) == table(tree)
    (made,) = tree["rows"].values()
    for arm in ARMS:
        assert list(made[arm]["test_accuracy"]) == ["1", "2"]
        assert made[arm]["labels"] == 40 + 180
        assert len(made[arm]["trials"]) == 2
        assert made[arm]["seconds"] > 0
