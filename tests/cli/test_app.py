"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from commands import supercm_ray

from supercm_ray.config import load_study

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "search_spaces" / "digits.yaml"


BROKEN = {
    "unknown key": ("clustering_weight: 1.0", "clustring_weight: 1.0", "did you mean `clustering_weight`?"),
    "bounds": ("low: 0.25, high: 4", "low: 4, high: 1", "`low < high` must hold for space.algorithm.temperature"),
    "unknown data": ("name: digits", "name: digit", "did you mean `digits`?"),
    "unknown algorithm": ("name: supervised", "name: supervized", "did you mean `supervised`?"),
    "unknown backbone": ("name: small_cnn", "name: small_cn", "did you mean `small_cnn`?"),
    "unfit backbone": (
        "name: small_cnn\n    options: {channels: [32, 64, 64]}",
        "name: alexnet",
        "`model.name` must take inputs of the shape of the data",
    ),
    "too few labels": ("choices: [0.01,", "choices: [0.001, 0.01,", "every class must have a labeled sample"),
    "type": ("learning_rate: 1e-3", "learning_rate: fast", "`base.training.learning_rate` must be a valid number"),
    "test metric": ("metric: val/accuracy", "metric: test/accuracy", "selection never sees test"),
    "seed searched": ("  algorithm.temperature: {", "  seed: {", "parameters must not be chosen by a lucky seed"),
    "baseline without labels": (
        "baseline:\n",
        "baseline:\n  data.label_ratio: 0.0001\n",
        "every class must have a labeled sample",
    ),
    "syntax": ("seed: 0", "seed: [0", "not valid YAML in broken.yaml, line"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_study_is_one_clear_error_before_anything_starts(case: str, tmp_path: Path) -> None:
    old, new, expected = BROKEN[case]
    text = DIGITS.read_text()
    assert old in text
    (tmp_path / "broken.yaml").write_text(text.replace(old, new, 1))
    done = supercm_ray(tmp_path, "tune", "broken.yaml", RAY_TMPDIR=str(tmp_path / "ray"))
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ")
    assert "broken.yaml" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"broken.yaml"}  # neither Ray nor MLflow left a trace


def test_a_study_without_a_space_cannot_be_tuned(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("base: {data: {label_ratio: 0.1}}")
    done = supercm_ray(tmp_path, "tune", "plain.yaml")
    assert done.returncode == 2
    assert "use train" in done.stderr


def test_a_missing_file_and_an_unknown_study(tmp_path: Path) -> None:
    for words in (("tune", "no.yaml"), ("validate", "no.yaml"), ("report", "nothing")):
        done = supercm_ray(tmp_path, *words)
        assert done.returncode == 2
        assert "no" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["unknown data", "unknown algorithm", "unknown backbone"])
def test_validate_knows_the_names(name: str, tmp_path: Path) -> None:
    old, new, expected = BROKEN[name]
    (tmp_path / "broken.yaml").write_text(DIGITS.read_text().replace(old, new, 1))
    done = supercm_ray(tmp_path, "validate", "broken.yaml")
    assert done.returncode == 2
    assert expected in done.stderr


def test_validate_says_what_would_be_run(tmp_path: Path) -> None:
    done = supercm_ray(tmp_path, "validate", str(DIGITS), "budget.num_trials=7")
    assert done.returncode == 0
    assert "7 trials over algorithm.clustering_weight" in done.stdout


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_dry_run_prints_a_configuration_that_loads_to_the_same(verb: str, tmp_path: Path) -> None:
    done = supercm_ray(tmp_path, verb, str(DIGITS), "algorithm.temperature=0.5", "--dry-run")
    assert done.returncode == 0
    printed = yaml.safe_load(done.stdout)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump({"base": printed} if verb == "train" else printed))
    again = load_study(tmp_path / "again.yaml")
    assert again.base == load_study(DIGITS, ["algorithm.temperature=0.5"]).base
    assert {path.name for path in tmp_path.iterdir()} == {"again.yaml"}


def test_schema_accepts_the_presets_and_refuses_a_misspelt_key(tmp_path: Path) -> None:
    schema = json.loads(supercm_ray(tmp_path, "schema").stdout)
    for path in (ROOT / "search_spaces").glob("*.yaml"):
        study = json.loads(load_study(path).model_dump_json())
        jsonschema.validate(study, schema)
    study["base"]["algorithm"]["clustring_weight"] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(study, schema)
    weight = schema["$defs"]["AlgorithmConfig"]["properties"]["clustering_weight"]
    assert weight["description"].startswith("Weight of the clustering loss")


def test_ls_lists_study_files_broken_ones_too(tmp_path: Path) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "good.yaml").write_text(DIGITS.read_text())
    (tmp_path / "search_spaces" / "bad.yaml").write_text("base: 3")
    done = supercm_ray(tmp_path, "ls")
    assert done.returncode == 0
    assert "good.yaml" in done.stdout
    assert "digits, supervised, 40 trials" in done.stdout
    assert "not valid" in done.stdout


def test_train_runs_once_resumes_and_keeps_the_test_closed(tmp_path: Path, empty_mlflow: Path) -> None:
    shutil.copy(empty_mlflow, tmp_path)
    words = ("training.num_epochs=3", "training.steps_per_epoch=3", "model.options.channels=[4,8]")
    first = supercm_ray(tmp_path, "train", str(DIGITS), *words)
    assert first.returncode == 0, first.stderr
    assert "val/accuracy" in first.stdout
    assert "test/accuracy" not in first.stdout
    (history,) = tmp_path.glob("results/train/*/*/*/metrics.jsonl")
    written = history.read_text()
    assert len(written.splitlines()) == 3
    second = supercm_ray(tmp_path, "train", str(DIGITS), *words, "--test")
    assert second.returncode == 0, second.stderr
    assert "test/accuracy" in second.stdout
    assert history.read_text() == written


def test_train_ends_with_the_reason_where_it_diverges(tmp_path: Path, empty_mlflow: Path) -> None:
    shutil.copy(empty_mlflow, tmp_path)
    done = supercm_ray(tmp_path, "train", str(DIGITS), "training.learning_rate=1e30", "training.num_epochs=3")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the training loss became")
    assert "Traceback" not in done.stderr


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    """What the other tests do here, once as a shell does it."""
    (tmp_path / "broken.yaml").write_text("seed: [0")
    command = [sys.executable, "-m", "supercm_ray.cli", "validate", "broken.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == supercm_ray(tmp_path, "validate", "broken.yaml").stderr
    assert done.stderr.startswith("error: ")


def test_light_verbs_do_not_import_what_is_heavy() -> None:
    code = "import supercm_ray.cli, sys; print([m for m in ('ray', 'mlflow', 'torch', 'optuna') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
