"""Compiled training passes: the same figures, and nothing of them in what is saved."""

from __future__ import annotations

import pytest
import torch
from conftest import Start
from torch.testing import assert_close

from supercm_ray.data import Dataset
from supercm_ray.training import deserialize, serialize, train_epoch
from supercm_ray.training.speed import cpp_compiler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm.name": "supervised", "algorithm.centroid_source": "batch"},
        {
            "algorithm.name": "vat"
        },  # a pass with frozen statistics and one that searches the direction, both not compiled
        {"algorithm.name": "mean_teacher", "algorithm.centroid_mode": "pseudo_labeled"},
        {"algorithm.name": "fixmatch", "model.frozen": True, "model.bottleneck": 8, "training.optimizer.name": "sgd"},
    ],
    ids=lambda settings: settings["algorithm.name"],
)
def test_compiled_equals_eager_and_saves_the_same(start: Start, digits: Dataset, settings: dict[str, str]) -> None:
    states, terms = {}, {}
    for compiled in ("off", "on"):
        state, data = start({**settings, "model.options.channels": [16, 16], "training.compile": compiled})
        terms[compiled], states[compiled] = train_epoch(state, data), state
    assert terms["on"] == pytest.approx(terms["off"], rel=1e-5, abs=1e-6)
    eager, compiled = states["off"].state_dict(), states["on"].state_dict()
    for part in ("model", "ema_model", "centroids", "algorithm"):
        assert list(compiled[part]) == list(eager[part])
        assert_close(dict(compiled[part]), dict(eager[part]), rtol=1e-4, atol=1e-5)

    states["on"].history.append({"epoch": 1})  # checkpoints are made between epochs
    resumed = deserialize(serialize(states["on"]), "here", states["off"].config, digits, torch.device("cpu"))
    assert train_epoch(resumed, data) == pytest.approx(train_epoch(states["on"], data), rel=1e-5, abs=1e-6)


def test_compiled_in_bf16_is_near_to_eager_in_bf16(start: Start) -> None:
    terms = []
    for compiled in ("off", "on"):
        state, data = start(
            {"training.precision": "bf16", "training.compile": compiled, "model.options.channels": [16, 16]}
        )
        terms.append(train_epoch(state, data))
    assert terms[1] == pytest.approx(terms[0], rel=2e-2)
