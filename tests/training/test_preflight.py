"""What is found with the data at hand, before anything is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supercm_ray.config import load_study
from supercm_ray.errors import StudyError
from supercm_ray.training.preflight import load_checked

STUDY = """\
base:
  data: {name: arrays, options: {file: vectors.npz}, labels_per_class: 3}
  model: {name: mlp, options: {channels: [8]}}
space:
  algorithm.name: {type: categorical, choices: [supervised, fixmatch]}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPERCM_DATA", str(tmp_path))
    labels = np.repeat(np.arange(3), 30)
    vectors = np.random.default_rng(0).normal(size=(len(labels), 5)).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", images=vectors, labels=labels)
    (tmp_path / "vectors.yaml").write_text(STUDY)
    return tmp_path / "vectors.yaml"


def test_an_algorithm_of_two_views_needs_views_that_differ(path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"`data\.noise_std > 0` must hold for algorithm\.name=fixmatch .*vectors\.yaml"
    ):
        load_checked(load_study(path))
    assert load_checked(load_study(path, ["data.noise_std=0.1"])).shape == (5, 1, 1)
