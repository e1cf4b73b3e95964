"""Labeled centroids, against each rule written as its definition.

Shapes: B samples, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from supercm_ray.core import CentroidRule, RunningCentroids, class_sums

RULES = get_args(CentroidRule)
K, D, DECAY = 4, 3, 0.8


def batches(seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in float64 in which class 3 first comes late, class 2 is often absent and some labels are hidden."""
    generator = torch.Generator().manual_seed(seed)
    for classes in ([0, 1], [0, 1, 2], [1, 1, 1], [-1, -1], [0, 2, 3, -1], [3, 3, 1, -1, 0]):
        labels = torch.tensor(classes * 2)
        yield torch.randn(len(labels), D, generator=generator, dtype=torch.float64) + 5.0, labels


def class_mean(features: Tensor, labels: Tensor, k: int) -> list[float] | None:
    """The mean of a class as numbers, or None where it is absent."""
    indices = [features[i].tolist() for i in range(len(labels)) if labels[i] == k]
    return [sum(column) / len(indices) for column in zip(*indices, strict=True)] if indices else None


class ByHand:
    """The three rules as their definitions say: over all means of a class so far, with the step of each."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.step = 0
        self.means: list[list[tuple[int, list[float]]]] = [[] for _ in range(K)]

    def update(self, features: Tensor, labels: Tensor) -> Tensor:
        self.step += 1
        for k in range(K):
            if (mean := class_mean(features, labels, k)) is not None:
                self.means[k].append((self.step, mean))
        return torch.tensor([[self._value(k, d) for d in range(D)] for k in range(K)], dtype=torch.float64)

    def _value(self, k: int, d: int) -> float:
        value = 0.0
        for step, mean in self.means[k]:
            if self.rule == "running_mean":
                value = (mean[d] + (step - 1) * value) / step
            elif self.rule == "class_count":
                value += mean[d]
            else:
                value = DECAY * value + (1 - DECAY) * mean[d]
        count = len(self.means[k])
        if self.rule == "class_count":
            return value / max(count, 1)
        return value / (1 - DECAY**count) if self.rule == "ema" and count else value


def new(rule: str) -> RunningCentroids:
    return RunningCentroids(D, K, rule=rule, decay=DECAY).double()


@pytest.mark.parametrize("rule", RULES)
def test_follows_its_definition_at_every_step(rule: CentroidRule) -> None:
    centroids, oracle = new(rule), ByHand(rule)
    for features, labels in batches():
        centroids.update(features, labels)
        assert_close(centroids.value, oracle.update(features, labels), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_differ_from_one_another(rule: CentroidRule) -> None:
    others = [new(other) for other in RULES if other != rule]
    centroids = new(rule)
    for features, labels in batches():
        for each in (centroids, *others):
            each.update(features, labels)
    assert all((centroids.value - other.value).abs().max() > 0.01 for other in others)


@pytest.mark.parametrize("rule", RULES)
def test_a_class_absent_from_a_batch_keeps_its_centroid(rule: CentroidRule) -> None:
    centroids = new(rule)
    centroids.update(torch.randn(4, D), torch.tensor([0, 1, 2, 3]))
    before = centroids.value.clone()
    centroids.update(torch.randn(3, D) + 9.0, torch.tensor([1, 1, 3]))
    assert torch.equal(centroids.value[[0, 2]], before[[0, 2]])
    assert (centroids.value[[1, 3]] - before[[1, 3]]).abs().min() > 0
    centroids.update(torch.randn(2, D), torch.tensor([-1, -1]))
    assert centroids.value.isfinite().all()


@pytest.mark.parametrize("rule", RULES)
def test_seen_tells_which_classes_have_had_a_sample(rule: CentroidRule) -> None:
    centroids = new(rule)
    assert centroids.seen.tolist() == [False] * K
    centroids.update(torch.zeros(3, D), torch.tensor([2, -1, 2]))
    assert centroids.seen.tolist() == [False, False, True, False]
    centroids.update(torch.zeros(1, D), torch.tensor([0]))
    assert centroids.seen.tolist() == [True, False, True, False]


@pytest.mark.parametrize("rule", RULES)
def test_hidden_and_foreign_labels_are_ignored(rule: CentroidRule) -> None:
    clean, mixed = new(rule), new(rule)
    features, labels = torch.randn(4, D), torch.tensor([0, 1, 1, 2])
    clean.update(features, labels)
    mixed.update(torch.cat([features, torch.full((2, D), 1e6)]), torch.cat([labels, torch.tensor([-1, K])]))
    assert_close(mixed.value, clean.value)
    assert torch.equal(mixed.seen, clean.seen)


@pytest.mark.parametrize("rule", RULES)
def test_state_survives_a_round_trip(rule: CentroidRule) -> None:
    centroids, restored = new(rule), new(rule)
    steps = list(batches())
    for features, labels in steps[:3]:
        centroids.update(features, labels)
    restored.load_state_dict(centroids.state_dict())
    for features, labels in steps[3:]:
        centroids.update(features, labels)
        restored.update(features, labels)
    assert torch.equal(restored.value, centroids.value)
    assert torch.equal(restored.seen, centroids.seen)
    assert restored.num_updates.item() == len(steps)


def test_no_gradient_is_recorded() -> None:
    centroids, features = RunningCentroids(D, K), torch.randn(4, D, requires_grad=True)
    centroids.update(features, torch.tensor([0, 1, 2, 3]))
    assert not centroids.value.requires_grad
    assert list(centroids.parameters()) == []
    assert not class_sums(features, torch.tensor([0, 1, 2, 3]), K)[0].requires_grad


@pytest.mark.parametrize("rule", RULES)
def test_sums_of_two_workers_make_the_update_of_the_whole(rule: CentroidRule) -> None:
    whole, halves, naive = new(rule), new(rule), new(rule)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        features = torch.randn(10, D, generator=generator, dtype=torch.float64)
        labels = torch.tensor([0] * 8 + [0, 1])
        whole.update(features, labels)
        parts = [class_sums(features[part], labels[part], K) for part in (slice(0, 1), slice(1, 10))]
        sums, counts = (sum(pair) for pair in zip(*parts, strict=True))
        halves.update_from_sums(sums, counts)
        means = [part_sums / part_counts.clamp_min(1).unsqueeze(1) for part_sums, part_counts in parts]
        naive.update_from_sums((means[0] + means[1]) / 2, (counts > 0).double())
    assert_close(halves.value, whole.value, rtol=1e-12, atol=1e-12)
    assert (naive.value[0] - whole.value[0]).abs().max() > 0.01, "the mean of means is another thing"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("autocast", [False, True])
def test_sums_are_accumulated_in_fp32(dtype: torch.dtype, autocast: bool) -> None:
    indices = 5001  # bfloat16 and float16 know no number between 4992 or 5000 and the next
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        sums, counts = class_sums(torch.ones(indices, D, dtype=dtype), torch.zeros(indices, dtype=torch.int64), K)
    assert (sums.dtype, counts.dtype) == (torch.float32, torch.float32)
    assert sums[0].tolist() == [indices] * D
    assert counts.tolist() == [indices, 0, 0, 0]


def test_autocast_does_not_round_the_features() -> None:
    plain, cast = RunningCentroids(D, K), RunningCentroids(D, K)
    features, labels = torch.randn(9, D), torch.arange(9) % K
    plain.update(features, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast.update(features, labels)
    assert torch.equal(cast.value, plain.value)


@pytest.mark.parametrize(("settings", "got"), [({"rule": "median"}, "median"), ({"decay": 1.0}, "1.0")])
def test_refuses_a_rule_or_a_decay_that_is_none(settings: dict[str, object], got: str) -> None:
    with pytest.raises(ValueError, match=got):
        RunningCentroids(D, K, **settings)
