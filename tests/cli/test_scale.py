"""The options of `scale` and its section of the study file, without measuring anything."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from supercm_ray.cli.app import app, scale
from supercm_ray.config import ClusterOptions, ScalingConfig, load_study
from supercm_ray.errors import StudyError


def run(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def dry_run(path: Path, *words: str) -> ScalingConfig:
    """The section that a dry run prints, loaded again."""
    path.with_name("again.yaml").write_text(run("scale", str(path), *words, "--dry-run"))
    scaling = load_study(path.with_name("again.yaml")).scaling
    assert scaling is not None
    return scaling


def test_scale_has_at_most_eight_options() -> None:
    """Besides those that every command on a cluster has."""
    arguments, of_cluster = {"file", "overrides"}, {field.name for field in fields(ClusterOptions)}
    parameters = set(inspect.signature(scale).parameters)
    assert of_cluster <= parameters
    options = parameters - arguments - of_cluster
    assert 0 < len(options) <= 8
    assert options - set(ScalingConfig.model_fields) == {"gpu", "results", "dry_run"}, "the others are of the section"


def test_options_are_the_fields_of_the_section(small_study: Path) -> None:
    words = ("--num-workers", "1,2", "--trials-at-once", "2", "--mode", "weak", "--target-accuracy", "0.5")
    expected = ScalingConfig(
        num_workers=(1, 2), trials_at_once=(2,), mode="weak", target_accuracy=0.5, price_per_gpu_hour=2.5, num_steps=7
    )
    assert dry_run(small_study, "scaling.num_steps=7", *words, "--price-per-gpu-hour", "2.5") == expected


def test_options_change_what_the_file_says(small_study: Path) -> None:
    small_study.write_text(small_study.read_text() + "scaling: {num_workers: [1, 2], repetitions: 4}\n")
    assert dry_run(small_study) == ScalingConfig(num_workers=(1, 2), repetitions=4)
    assert dry_run(small_study, "--num-workers", "4") == ScalingConfig(num_workers=(4,), repetitions=4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num-workers", "1,3"), "must be a multiple of 3 for scaling.num_workers=[1, 3], got 8"),
        (("--num-workers", "1,two"), "--num-workers must be numbers with commas between them"),
        (("--num-workers", "1", "--mode", "both"), "`scaling.mode` must be 'strong' or 'weak'"),
        ((), "the section `scaling` must stand in small.yaml to be measured, got none"),
    ],
)
def test_a_section_that_cannot_be_measured_is_refused(small_study: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        run("scale", str(small_study), *words)
    assert message in str(caught.value)


def test_validate_checks_the_section(small_study: Path) -> None:
    text = small_study.read_text()
    small_study.write_text(text + yaml.safe_dump({"scaling": {"num_workers": [1, 2]}}))
    assert "is valid" in run("validate", str(small_study))
    small_study.write_text(text + yaml.safe_dump({"scaling": {"num_workers": [1, 3]}}))
    with pytest.raises(StudyError, match=r"must be a multiple of 3"):
        run("validate", str(small_study))
