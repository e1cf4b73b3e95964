"""A run cut anywhere and resumed is the run that was never cut."""

from __future__ import annotations

from itertools import islice
from typing import get_args

import pytest
import torch
from comparing import differences

from supercm_ray.core import CentroidRule
from supercm_ray.data import Dataset
from supercm_ray.training import deserialize, fit, serialize

SETTINGS = [
    {"algorithm.centroid_rule": rule, "algorithm.centroid_source": source}
    for rule in get_args(CentroidRule)
    for source in ("eval_pass", "batch")
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings.values()))
def test_resumed_equals_uninterrupted(start, digits: Dataset, settings: dict[str, str]) -> None:
    settings = {**settings, "algorithm.clustering_warmup_steps": 6, "training.weight_decay": 0.01}
    whole, data = start(settings)
    list(fit(whole, data))
    assert whole.epoch == 3
    for cut in range(4):
        half, _ = start(settings)
        list(islice(fit(half, data), cut))
        resumed = deserialize(serialize(half), "here", half.config, digits, torch.device("cpu"))
        assert differences(resumed, half) == []
        assert [metrics["epoch"] for metrics in fit(resumed, data)] == list(range(cut + 1, 4))
        assert differences(resumed, whole) == [], f"cut after epoch {cut}"


def test_a_run_saved_between_two_epochs_goes_on_as_if_it_were_not(start) -> None:
    watched, data = start()
    plain, _ = start()
    for _ in fit(watched, data):
        serialize(watched)
    list(fit(plain, data))
    assert differences(watched, plain) == []


def test_the_same_seed_gives_the_same_run(start) -> None:
    (one, data), (again, _) = start({"seed": 5}), start({"seed": 5})
    torch.manual_seed(1)
    list(fit(one, data))
    torch.manual_seed(2)  # nothing follows from the global generator
    list(fit(again, data))
    assert differences(one, again) == []


def test_a_run_leaves_the_global_generator_alone(start) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    list(fit(*start()))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_another_run(start) -> None:
    (one, data), (other, _) = start({"seed": 5}), start({"seed": 6})
    assert not torch.equal(one.model.clustering.head.weight, other.model.clustering.head.weight)
    assert not torch.equal(one.generator.get_state(), other.generator.get_state())
    list(fit(one, data))
    list(fit(other, data))
    assert one.history[-1]["train/loss"] != other.history[-1]["train/loss"]
