"""A study as a table: every run once, in each format, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from commands import supercm_ray

from supercm_ray import api
from supercm_ray.config import Study
from supercm_ray.errors import StudyError
from supercm_ray.records import StudyFolder, write_study


@pytest.fixture
def folder(copied: StudyFolder, study: Study) -> StudyFolder:
    write_study(copied.path, study)
    return copied


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_every_run_is_a_row(folder: StudyFolder) -> None:
    frame = read(api.export(folder.path))
    records = {record.key: record for record in folder.runs()}
    assert sorted(frame["run"]) == sorted(records)
    for row in frame.to_dict("records"):
        record, view = records[row["run"]], folder.run(row["run"]).view()
        assert (row["kind"], row["status"], row["seed"]) == (record.kind, record.status, record.params["seed"])
        assert row["label_budget"] == record.label_budget
        weight = record.params["algorithm.clustering_weight"]
        assert row["algorithm.clustering_weight"] == pytest.approx(weight)
        assert view is not None
        expected = view.metrics.get("val/accuracy", float("nan"))
        assert row["val/accuracy"] == pytest.approx(expected, nan_ok=True)
    tested = frame[frame["test/accuracy"].notna()]
    assert set(tested["kind"]) == {"finalist"}
    assert set(tested["arm"]) == {"tuned", "baseline"}


def test_every_epoch_is_a_row(folder: StudyFolder) -> None:
    frame = read(api.export(folder.path, epochs=True))
    assert len(frame) == sum(len(view.history) for view in folder.views())
    assert "test/accuracy" not in frame.columns


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_formats_hold_the_same(folder: StudyFolder, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"runs.{form}"
    assert api.export(folder.path, output=path) == ""
    readers = {"csv": pd.read_csv, "json": lambda path: pd.DataFrame(json.loads(path.read_text())), "parquet": None}
    frame = pd.read_parquet(path) if form == "parquet" else readers[form](path)
    expected = read(api.export(folder.path))
    assert list(frame.columns) == list(expected.columns)
    pd.testing.assert_series_equal(frame["val/accuracy"], expected["val/accuracy"])
    assert list(frame["run"]) == list(expected["run"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"form": "xlsx"}, "csv, json, parquet, got --format xlsx"),
        ({"output": Path("runs.xlsx")}, "csv, json, parquet, got runs.xlsx"),
        ({"form": "parquet"}, "give --output"),
        ({"output": Path("nowhere/runs.csv")}, "make it, or name another"),
    ],
    ids=["format", "name", "no file", "no folder"],
)
def test_what_cannot_be_written_is_refused(folder: StudyFolder, asked: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        api.export(folder.path, **asked)


def test_the_command_writes_to_the_terminal(folder: StudyFolder, tmp_path: Path) -> None:
    done = supercm_ray(tmp_path, "export", str(folder.path), "--format", "json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == len(list(folder.runs()))
    refused = supercm_ray(tmp_path, "export", "no-such-study")
    assert refused.returncode == 2
    assert "a study to export must be" in refused.stderr
