"""The command `predict`: files in, files out."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import supercm_ray
from PIL import Image

from supercm_ray.data import inputs
from supercm_ray.inference import Model


@pytest.fixture
def given(tmp_path: Path, results: Path):
    """Gives `predict tiny ...` in a directory, and returns what it printed."""

    def give(*words: str):
        return supercm_ray(tmp_path, "predict", "tiny", *words, SUPERCM_RESULTS=str(results))

    return give


def test_a_row_for_each_sample(given, images: Path, model: Model, tmp_path: Path) -> None:
    done = given("images", "--output", "a.csv", "--embed", "f.npz", "--batch-size", "3")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    wanted = model.predict(images)
    assert [row["predicted"] for row in rows] == wanted.predicted
    assert [row["nearest_class"] for row in rows] == wanted.nearest
    assert [Path(row["sample"]).name for row in rows] == [f"{i}.png" for i in range(7)]
    assert [list(row)[4:] for row in rows] == [[f"p_{name}" for name in model.class_names]] * 7
    found = np.array([[float(row[f"p_{name}"]) for name in model.class_names] for row in rows])
    assert np.allclose(found, wanted.probabilities, atol=1e-6)
    assert np.allclose([float(row["distance"]) for row in rows], wanted.distance, atol=1e-5)
    with np.load(tmp_path / "f.npz") as saved:
        assert np.allclose(saved["features"], wanted.features, atol=1e-5)
        assert [Path(name).name for name in saved["names"]] == [f"{i}.png" for i in range(7)]


def test_parquet_holds_the_same(given, images: Path, model: Model, tmp_path: Path) -> None:
    assert given("images", "--output", "a.parquet", "--embed", "f.parquet", "--batch-size", "4").returncode == 0
    wanted = model.predict(images)
    table, features = pd.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "f.parquet")
    assert table["predicted"].tolist() == wanted.predicted
    assert np.allclose(table.filter(like="p_"), wanted.probabilities, atol=1e-6)
    assert np.allclose(features.filter(regex="f[0-9]+"), wanted.features, atol=1e-5)


def test_a_large_folder_is_streamed_with_the_same_result(
    given, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open(images / "3.png").convert("RGB").save(images / "3.png")
    assert given("images", "--output", "a.csv", "--batch-size", "3").returncode == 0
    monkeypatch.setattr(inputs, "IN_MEMORY", 0)
    assert given("images", "--output", "b.csv", "--batch-size", "3").returncode == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_without_a_file_a_table_and_counts_are_shown(given, images: Path, model: Model) -> None:
    done = given("images")
    predicted = model.predict(images).predicted
    assert done.returncode == 0
    assert "probability" in done.stdout
    counts = dict(line.split() for line in done.stdout.splitlines() if line[:1].isdecimal())
    assert {name: int(counts[name]) for name in model.class_names} == {n: predicted.count(n) for n in model.class_names}


def test_a_failure_leaves_the_former_file(given, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("former")
    (images / "7.png").write_bytes(b"nonsense")
    for words, expected in (
        (("images", "--output", "a.csv"), "7.png"),
        (("images", "--output", "a.txt"), "--output must be a .csv or .parquet file, got 'a.txt'"),
        (("images", "--output", "no/a.csv"), "the folder of --output must exist, got 'no'; make it"),
        (("images", "--embed", "a.csv"), "--embed must be a .npz or .parquet file"),
        (("missing",), "got 'missing'"),
    ):
        done = given(*words)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert expected in done.stderr
    assert (tmp_path / "a.csv").read_text() == "former"

    def killed(self: Model, *_: object, **__: object):
        yield next(batches(self, *_, **__))
        raise KeyboardInterrupt

    (images / "7.png").unlink()
    batches = Model.predict_batches
    monkeypatch.setattr(Model, "predict_batches", killed)
    assert given("images", "--output", "a.csv", "--batch-size", "2").returncode == 130
    assert (tmp_path / "a.csv").read_text() == "former"
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "images"}


def test_names_of_files_may_be_no_text(given, images: Path, tmp_path: Path) -> None:
    (images / "0.png").rename(images / os.fsdecode(b"caf\xe9.png"))
    assert given("images", "--output", "a.csv").returncode == 0
    assert b"caf\xe9.png," in (tmp_path / "a.csv").read_bytes()
