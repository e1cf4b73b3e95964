"""A run with its folder: resumed, opened on the test split, and what it leaves there. No Ray is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import AlgorithmConfig, Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Dataset, split_dataset
from supercm_ray.records import RunFolder
from supercm_ray.runtime import Run


def folder(tmp_path: Path, config: Config, digits: Dataset) -> RunFolder:
    made = RunFolder(tmp_path, "trials/0000")
    made.path.mkdir(parents=True)
    split_dataset(digits, config).save(made.splits)
    return made


def configured(mode: str) -> Config:
    return Config(
        data=DataConfig(label_ratio=0.1),
        model=ModelConfig(channels=(4, 8)),
        algorithm=AlgorithmConfig(centroid_mode=mode),
        training=TrainingConfig(num_epochs=3, steps_per_epoch=2, device="cpu"),
    )


@pytest.mark.parametrize("mode", ["labeled", "pseudo_labeled", "learned"])
def test_a_finished_run_leaves_what_it_found_on_the_test_split(mode: str, tmp_path: Path, digits: Dataset) -> None:
    config = configured(mode)
    place = folder(tmp_path, config, digits)
    run = Run(place, config, digits)
    assert [metrics["epoch"] for metrics in run] == [1, 2, 3]
    found = run.open_test()
    with np.load(place.outcome, allow_pickle=False) as outcome:
        assert outcome["confusion"].trace() / outcome["confusion"].sum() == pytest.approx(found["test/accuracy"])
        assert (outcome["labels"] == outcome["predictions"]).mean() == pytest.approx(found["test/accuracy"])
        assert np.array_equal(outcome["labels"], digits.labels[split_dataset(digits, config).test])
        assert outcome["centroids"].shape == (10, 8)
        assert outcome["seen"].all()


def test_a_run_cut_off_gives_its_past_again_and_goes_on(tmp_path: Path, digits: Dataset) -> None:
    config = configured("labeled")
    place = folder(tmp_path, config, digits)
    first = iter(Run(place, config, digits))
    before = [dict(next(first)), dict(next(first))]
    resumed = [dict(metrics) for metrics in Run(place, config, digits)]
    assert resumed[:2] == before
    assert resumed[2]["epoch"] == 3


def test_a_damaged_checkpoint_is_put_aside_and_the_run_starts_afresh(
    tmp_path: Path, digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured("labeled")
    place = folder(tmp_path, config, digits)
    list(Run(place, config, digits))
    place.checkpoint.write_bytes(place.checkpoint.read_bytes()[:1000])
    again = Run(place, config, digits)
    assert again.state.epoch == 0
    assert "the run starts afresh" in caplog.text
    assert place.checkpoint.with_suffix(".refused").exists()
