"""The accuracy table: its rows, its fairness, and that the documents show what the JSON holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import accuracy
import pytest
from accuracy_rows import ARMS, Row, Suite, rows
from accuracy_table import BEGIN, DIGEST, END, between_markers, digest, gains, put_into, table

ROOT = Path(__file__).parents[2]
ROWS = list(rows())
KNOWN = {row.key: row for row in ROWS}
WEIGHT = "algorithm.clustering_weight"


def test_every_row_is_there_once() -> None:
    assert len(KNOWN) == len(ROWS)
    assert {row.arm for row in ROWS} == set(ARMS)
    for labels in (1, 2, 4, 10):
        assert {f"digits/{arm}/{labels}" for arm in ("labels", "prior", "published", "supercm+prior")} <= set(KNOWN)
    assert set(DIGEST) <= set(KNOWN) and len(DIGEST) <= 20
    assert all(row.suite.num_splits >= 3 and row.suite.num_seeds >= 3 for row in ROWS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.against in KNOWN], ids=lambda row: row.key)
def test_a_row_and_its_partner_share_data_and_budget(row: Row) -> None:
    own, other = row.study(1), KNOWN[str(row.against)].study(1)
    assert own.base.data == other.base.data
    if ARMS[row.arm].fits_at_once:
        return
    for name in ("budget", "scheduler", "objective", "num_seeds"):
        assert getattr(own, name) == getattr(other, name)
    assert (own.base.training, own.base.model) == (other.base.training, other.base.model)
    assert own.sampler.seed != other.sampler.seed
    assert own.enqueued_trials[0].keys() == own.space.keys()


@pytest.mark.parametrize("row", [row for row in ROWS if row.arm.endswith("+supercm")], ids=lambda row: row.key)
def test_an_algorithm_with_and_without_differs_in_the_module_alone(row: Row) -> None:
    own, other = row.study(0), KNOWN[str(row.against)].study(0)
    assert {**other.space, WEIGHT: own.space[WEIGHT]} == own.space
    assert WEIGHT not in other.space
    assert other.base.algorithm.clustering_weight == 0
    module = {WEIGHT: 1.0, "algorithm.centroid_rule": "ema", "algorithm.centroid_source": "batch"}
    assert other.base.replace(module) == own.base


def test_arms_know_equally_much_of_the_balance_of_classes() -> None:
    for row in ROWS:
        if row.against in KNOWN and not ARMS[row.arm].fits_at_once and row.arm not in ("prior", "published-prior"):
            own, other = row.study(0), KNOWN[row.against].study(0)
            prior = "algorithm.balance_weight"
            assert own.base.algorithm.balance_alpha == other.base.algorithm.balance_alpha, row.key
            assert (prior in own.space) == (prior in other.space), row.key


def test_no_row_searches_what_moves_its_metric_or_sees_target_labels() -> None:
    for row in ROWS:
        study = row.study(0)
        assert (study.primary.metric.startswith("target/")) == row.suite.has_target
        assert ARMS[row.arm].fits_at_once or "algorithm.temperature" not in study.space


def test_few_labels_are_counted_whole() -> None:
    for row in ROWS:
        if row.labels_per_class is not None:
            data = row.study(0).base.data
            assert data.num_val == 10 * row.labels_per_class, "as many for validation as for training"


def entry(*splits: float, against: str | None = None, arm: str = "VAT", alone: str | None = None) -> dict[str, Any]:
    """A row of the JSON with these test accuracies by split."""
    found = [{"labels": 20, "seconds": 31.0, "test_accuracy": {"1": value, "2": value}} for value in splits]
    return {"suite": "digits", "arm": arm, "labels_per_class": 1, "against": against, "alone": alone, "splits": found}


TREE = {
    "rows": {
        "digits/vat/1": entry(0.80, 0.85, 0.90),
        "digits/vat+supercm/1": entry(0.90, 0.94, 0.99, against="digits/vat/1", arm="VAT + SuperCM"),
        "digits/published/1": entry(0.5, 0.9, 0.6, against="digits/vat/1", arm="SuperCM as published"),
        "digits/prior/1": entry(0.5, 0.9, 0.6, against="digits/not run/1", arm="prior"),
    }
}


def test_a_row_shows_its_gain_and_stresses_what_is_shown() -> None:
    lines = table(TREE).splitlines()
    assert lines[-4] == "| digits | VAT | 1 | 20 | 85.0 ± 5.0 |  |  |  | 1:33 |"
    assert lines[-3] == "| digits | VAT + SuperCM | 1 | 20 | 94.3 ± 4.5 | **+9.3** | VAT |  | 1:33 |"
    assert lines[-2] == "| digits | SuperCM as published | 1 | 20 | 66.7 ± 20.8 | −18.3 | VAT |  | 1:33 |"
    assert lines[-1] == "| digits | prior | 1 | 20 | 66.7 ± 20.8 |  |  |  | 1:33 |"
    assert "SuperCM on its own against the same without it: helps in 0, hurts in 0, not shown in 1." in lines[0]
    assert "Added to an algorithm, against that algorithm: helps in 1, hurts in 0, not shown in 0." in lines[0]


def test_splits_are_what_a_test_counts() -> None:
    """Seeds of a split share its search and its samples, so more of them show no more."""
    found = gains(TREE, "against")["digits/vat+supercm/1"]
    assert (found.num_seeds, found.is_paired) == (3, True)


def test_the_table_is_put_between_the_markers_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("no markers\n")
    put_into(path, "new")
    assert path.read_text() == "no markers\n"


def test_the_documents_show_what_the_json_holds() -> None:
    tree = json.loads(accuracy.JSON.read_text(encoding="utf-8"))
    assert between_markers((ROOT / "README.md").read_text(encoding="utf-8")) == digest(tree)
    assert between_markers((ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")) == table(tree)
    assert set(tree["versions"]) >= {"python", "torch", "ray", "optuna"}
    assert tree["hardware"]
    for key, row in tree["rows"].items():
        assert row["command"] == f"python benchmarks/accuracy.py --only {key}"
        assert row["commit"]
        study = KNOWN[key].study(0)
        assert row["selected_by"] == study.primary.metric
        assert len(row["splits"]) == KNOWN[key].suite.num_splits
        for split in row["splits"]:
            assert len(split["test_accuracy"]) == study.num_seeds
            assert len(split["trials"]) == study.budget.num_trials
            assert all(study.space[path].contains(value) for path, value in split["chosen"].items())


def test_what_the_table_has_was_run_as_it_would_be_now() -> None:
    known = json.loads(accuracy.JSON.read_text(encoding="utf-8"))["rows"]
    stale = [key for key, row in known.items() if key not in KNOWN or not accuracy._is_done(KNOWN[key], row)]
    assert not stale, f"run {accuracy.COMMAND} --only each of these again"


def test_a_fingerprint_is_of_what_the_study_says(monkeypatch: pytest.MonkeyPatch) -> None:
    row = KNOWN["digits/supercm/1"]
    assert row.fingerprint == Row(row.suite, "supercm", 1).fingerprint
    others = [Row(row.suite, "supercm", 2), Row(dataclasses.replace(row.suite, num_trials=7), "supercm", 1)]
    assert len({one.fingerprint for one in (row, *others)}) == 3


def test_rows_are_named_by_how_they_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy.main(["--list", "--only", "digits/vat"]) == 0
    assert capsys.readouterr().out.split() == ["digits/vat/4", "digits/vat+supercm/4"]
    for key in ("digits/supercm/1", "digits/supercm/10", "office-amazon-dslr/dann"):
        assert accuracy.main(["--list", "--only", key]) == 0
        assert capsys.readouterr().out.split() == [key]
    assert accuracy.main(["--list"]) == 0
    assert "cifar10" not in capsys.readouterr().out
    assert accuracy.main(["--only", "nothing"]) == 2
    assert "--list" in capsys.readouterr().err


def test_a_share_without_a_row_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "digits/vat/4", "--share", "1/2", "--work", str(tmp_path), "--json", str(tmp_path / "a.json")]
    assert accuracy.main(words) == 0
    assert capsys.readouterr().out == "nothing to run, 0 rows are done; --again runs them anew\n"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Row:
    """A row that is run in seconds."""
    digits: Suite = KNOWN["digits/labels/4"].suite
    training = {**digits.training, "steps_per_epoch": 2, "num_epochs": 1, "checkpoint_interval_epochs": 1}
    row = Row(dataclasses.replace(digits, training=training, num_trials=2, num_seeds=2, num_splits=2), "labels", 4)
    monkeypatch.setattr(accuracy, "rows", lambda: iter([row]))
    return row


def test_a_row_is_run_once(short: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "results" / "a.json"
    (tmp_path / "README.md").write_text(f"{BEGIN}\n{END}\n")
    for _ in range(2):
        assert accuracy.run([short], tmp_path / "work", figures, tmp_path) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1/1 digits/labels/4: ")
    assert second == "nothing to run, 1 rows are done; --again runs them anew"
    tree = json.loads(figures.read_text())
    assert between_markers((tmp_path / "README.md").read_text()) == digest(tree)
    (made,) = tree["rows"].values()
    for split in made["splits"]:
        assert list(split["test_accuracy"]) == ["1", "2"]
        assert split["labels"] == 40 + 40
        assert len(split["trials"]) == 2
        assert split["seconds"] > 0
        assert len(split["val_accuracy_by_epoch"]) == 1
    assert made["splits"][0]["test_accuracy"] != made["splits"][1]["test_accuracy"]


def test_rows_that_are_done_are_run_again_in_a_fresh_folder(
    short: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    monkeypatch.setattr(accuracy, "_is_done", lambda row, known: True)
    monkeypatch.setattr(accuracy, "tune", lambda study, results, plots, executor: folders.append(results))
    monkeypatch.setattr(accuracy, "_metrics", lambda result: {"test_accuracy": {"1": 0.5}})
    monkeypatch.setattr(accuracy, "_put", lambda row, splits, path, documents: None)
    for again in (False, True, True):
        assert accuracy.run([short], tmp_path / "work", tmp_path / "a.json", tmp_path, again=again) == 0
    assert [folder.parent for folder in folders] == [tmp_path / "work"] * 4
    assert folders[0] == folders[1] != folders[2] == folders[3]
