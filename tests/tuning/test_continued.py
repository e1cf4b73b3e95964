"""A finished run goes on with more epochs, as a run of its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import supercm_ray as supercm_ray_command

import supercm_ray
from supercm_ray.api import TrainResult
from supercm_ray.config import Config, DataConfig, ModelConfig, Study, TrainingConfig
from supercm_ray.errors import InterruptedStudyError, StudyError
from supercm_ray.records import RunFolder, StudyFolder

BASE = Config(
    data=DataConfig(label_ratio=0.1),
    model=ModelConfig(options={"channels": (4, 8)}),
    training=TrainingConfig(num_epochs=2, steps_per_epoch=3, learning_rate=1e-2, device="cpu"),
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder with a finished run of two epochs, which has read the test split."""
    made = tmp_path_factory.mktemp("first")
    train(made, evaluate_test=True)
    return made


@pytest.fixture
def results(first: Path, tmp_path: Path) -> Path:
    """A results folder of one's own with that run."""
    shutil.copytree(first, tmp_path / "results")
    return tmp_path / "results"


def train(results: Path, overrides: dict[str, object] | None = None, **options: object) -> TrainResult:
    study = Study(name="tiny", base=BASE.replace(overrides or {}), tracking=("none",))
    return supercm_ray.train(study, results=results, executor="in-process", **options)


def run_of(made: TrainResult) -> RunFolder:
    path = Path(made.checkpoint).parent
    return StudyFolder.existing(path.parents[1]).run("train/tiny")


def test_it_goes_on_as_an_uninterrupted_run_would(results: Path, tmp_path: Path) -> None:
    """Nothing here depends on the fraction of training done, so both are the same run."""
    made = train(results, {"training.num_epochs": 4}, continue_from="tiny")
    whole = train(tmp_path / "whole", {"training.num_epochs": 4})
    losses = [[metrics["train/loss"] for metrics in run_of(one).history()] for one in (made, whole)]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]
    states = [torch.load(one.checkpoint, weights_only=True)["ema_model"] for one in (made, whole)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_says_what_it_continues(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    former = next((results / "train").iterdir())
    made = train(results, {"training.num_epochs": 3, "training.learning_rate": 1e-3}, continue_from=former)
    record = run_of(made).record()
    assert record is not None
    assert record.labels == {"continued_from": f"{former.name}/train/tiny", "test_was_read_before": True}
    assert "has read the test split: choose how to continue by validation" in caplog.text
    assert Path(made.checkpoint).parent != former / "train" / "tiny"
    assert (former / "train" / "tiny" / "metrics.jsonl").read_text().count("\n") == 2
    before, after = (np.load(path / "splits.npz") for path in (former / "train/tiny", run_of(made).path))
    assert all(np.array_equal(before[name], after[name]) for name in before.files)
    again = train(results, {"training.num_epochs": 4, "training.learning_rate": 1e-3}, continue_from=run_of(made).path)
    assert run_of(again).record().labels["test_was_read_before"] is True


def test_the_same_call_resumes_it(results: Path) -> None:
    class Stopping:
        def on_phase(self, *_: object) -> None: ...

        def on_result(self, text: str) -> None: ...

        def on_run(self, record: object, metrics: dict[str, float] | None) -> None:
            if metrics and metrics["epoch"] == 3:
                raise KeyboardInterrupt

    overrides = {"training.num_epochs": 5}
    with pytest.raises(InterruptedStudyError):
        train(results, overrides, continue_from="tiny", callback=Stopping())
    made = train(results, overrides, continue_from="tiny")
    assert [metrics["epoch"] for metrics in run_of(made).history()] == [1, 2, 3, 4, 5]
    assert len(list((results / "train").iterdir())) == 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "`training.num_epochs` must be above the 2 epochs of tiny-.*, got 2; raise it"),
        ({"seed": 3, "training.num_epochs": 4}, "got seed=3 for 0; give seed=0, or train anew"),
        ({"model.options.channels": (4, 9), "training.num_epochs": 4}, r"got model.options.channels=\(4, 9\) for"),
        ({"training.steps_per_epoch": 5, "training.num_epochs": 4}, "training.steps_per_epoch=5 for 3"),
        ({"training.optimizer.name": "sgd", "training.num_epochs": 4}, "give training.optimizer.name=adamw, or train"),
    ],
)
def test_other_data_or_models_are_refused(overrides: dict[str, object], expected: str, first: Path) -> None:
    with pytest.raises(StudyError, match=expected) as error:
        train(first, overrides, continue_from="tiny")
    assert "\n" not in str(error.value)
    assert len(list((first / "train").iterdir())) == 1


def test_rates_and_decays_may_change(results: Path) -> None:
    changed = {"training.weight_decay": 0.1, "training.decay_norms_and_biases": False, "training.clip_grad_norm": 1.0}
    made = train(results, {"training.num_epochs": 3, **changed}, continue_from="tiny")
    assert [metrics["epoch"] for metrics in run_of(made).history()] == [1, 2, 3]


def test_a_run_that_has_not_finished_is_refused(results: Path) -> None:
    run = StudyFolder.existing(next((results / "train").iterdir())).run("train/tiny")
    run.write(replace(run.known_record(), status="running"))
    with pytest.raises(StudyError, match="a run must have finished, got status running"):
        train(results, {"training.num_epochs": 4}, continue_from="tiny")


def test_the_command_takes_the_run(results: Path) -> None:
    study = {"name": "tiny", "base": BASE.model_dump(mode="json"), "tracking": ["none"]}
    (results / "tiny.yaml").write_text(yaml.safe_dump(study))
    words = ("train", "tiny.yaml", "--results", ".", "training.num_epochs=3", "--continue")
    assert "error: a run or study must be a folder" in supercm_ray_command(results, *words, "none").stderr
    done = supercm_ray_command(results, *words, "tiny")
    assert done.returncode == 0, done.stderr
    assert len(list((results / "train").iterdir())) == 2
