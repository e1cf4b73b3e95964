"""Each algorithm's term against its equation, computed by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from supercm_ray.algorithms import Step, build_algorithm, frozen_statistics
from supercm_ray.algorithms.adversarial import reverse_gradient, warm_start
from supercm_ray.data import Batch, draw_batch, epoch_indices
from supercm_ray.testing.algorithm import AlgorithmContract
from supercm_ray.training import TrainState


class _Maker(AlgorithmContract):
    """For its toy configuration, under no contract of its own."""

    __test__ = False
    name = "supervised"


def make_step(name: str, **changes: object) -> tuple[TrainState, Step]:
    """A fresh run and its first step; `options__threshold=0` sets `algorithm.options.threshold`."""
    maker = _Maker()
    config = maker.config({f"algorithm.{path.replace('__', '.')}": value for path, value in changes.items()}, name=name)
    state, data = maker.start(config)
    indices = epoch_indices(data.labeled, 1, 6, state.generator)[0]
    others = epoch_indices(data.unlabeled, 1, 10, state.generator)[0]
    batch: Batch = draw_batch(data, indices, others, config, state.generator)
    outputs = state.model(torch.cat([batch.labeled, batch.unlabeled]))
    return state, Step(state.model, batch, outputs, config, state.generator, 0.5)


def replayed(step: Step) -> Step:
    """The same step with the generator as it stands now, to draw the same views once more."""
    generator = torch.Generator()
    generator.set_state(step.generator.get_state())
    return Step(copy.deepcopy(step.model), step.batch, step.outputs, step.config, generator, step.progress)


def term(state: TrainState, step: Step) -> Tensor:
    (value,) = state.algorithm(step).values()
    return value


def test_supervised_adds_nothing() -> None:
    state, step = make_step("supervised")
    assert state.algorithm(step) == {}


def test_pi_model_is_the_mean_squared_difference_of_softmaxes() -> None:
    state, step = make_step("pi_model")
    again = replayed(step)
    target = again.model(again.weak_view()).logits.softmax(1).detach()
    ours = step.outputs.logits[6:].detach().softmax(1)
    expected = sum((a - b) ** 2 for p, q in zip(ours, target, strict=True) for a, b in zip(p, q, strict=True)) / 30
    assert term(state, step).item() == pytest.approx(float(expected), rel=1e-5)


def test_mean_teacher_follows_by_its_decay_and_gives_the_target() -> None:
    state, step = make_step("mean_teacher", options__decay=0.75)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(0.1)
    teacher = copy.deepcopy(state.algorithm.teacher)
    with torch.no_grad():
        for ours, theirs in zip(teacher.parameters(), state.model.parameters(), strict=True):
            ours.copy_(0.75 * ours + 0.25 * theirs)
        for ours, theirs in zip(teacher.buffers(), state.model.buffers(), strict=True):
            ours.copy_(theirs)
    target = teacher(replayed(step).weak_view()).logits.softmax(1)
    expected = (step.outputs.logits[6:].softmax(1) - target).square().mean()
    value = term(state, step)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in state.algorithm.parameters())


def test_vat_finds_a_direction_of_the_right_length_that_changes_more_than_chance() -> None:
    state, step = make_step("vat", options__epsilon=1.0)
    seen: list[Tensor] = []
    state.model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    value = term(state, step)
    moved = (seen[-1] - step.batch.unlabeled) / state.model.std
    assert torch.allclose(moved.flatten(1).norm(dim=1), torch.ones(10), atol=1e-4)

    def log_probability(images: Tensor) -> Tensor:
        with torch.no_grad(), frozen_statistics(state.model):
            return state.model(images).logits.log_softmax(1)

    def divergence(images: Tensor) -> Tensor:
        p, q = log_probability(images), log_probability(step.batch.unlabeled)
        return sum((p[i, k].exp() * (p[i, k] - q[i, k])) for i in range(10) for k in range(3)) / 10

    assert value.item() == pytest.approx(divergence(seen[-1]).item(), rel=1e-4)
    random = [torch.randn(10, 1, 8, 8) for _ in range(20)]
    chance = [r / r.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * state.model.std for r in random]
    assert value > max(divergence(step.batch.unlabeled + r) for r in chance)


@pytest.mark.parametrize("threshold", [0.0, 0.34, 0.36, 1.0])
def test_pseudo_label_counts_confident_samples_over_all_samples(threshold: float) -> None:
    state, step = make_step("pseudo_label", options__threshold=threshold)
    expected = 0.0
    for sample in step.outputs.logits[6:].softmax(1):
        if sample.max() >= threshold:
            expected += -sample.max().log().item() / 10
    assert term(state, step).item() == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_fixmatch_teaches_the_strong_view_the_label_of_the_weak_one() -> None:
    state, step = make_step("fixmatch", options__threshold=0.35)
    again = replayed(step)
    strong = again.model(again.strong_view()).logits.log_softmax(1)
    expected = 0.0
    for weak, sample in zip(step.outputs.logits[6:].softmax(1), strong, strict=True):
        if weak.max() >= 0.35:
            expected += -sample[weak.argmax()].item() / 10
    assert expected > 0
    assert term(state, step).item() == pytest.approx(expected, rel=1e-5)


def test_the_weight_ramp_and_term_enter_the_loss() -> None:
    from supercm_ray.training import train_step

    settings = {"consistency_weight": 3.0, "consistency_warmup_steps": 4}
    state, step = make_step("pseudo_label", options__threshold=0.0, **settings)
    terms = train_step(state, step.batch)
    ramp = torch.exp(torch.tensor(-5.0 * (1 - 1 / 4) ** 2))
    expected = terms["supervised"] + terms["clustering"] + 3.0 * ramp * terms["consistency"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_build_algorithm_gives_each_run_its_own_state() -> None:
    state, _ = make_step("mean_teacher")
    other = build_algorithm(state.model, state.config)
    assert other.teacher is not state.algorithm.teacher


def test_reversed_gradients_and_their_warm_start() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    (reverse_gradient(values, 0.25) * torch.tensor([3.0, 5.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-0.75, -1.25]
    assert [round(warm_start(p), 3) for p in (0.0, 0.1, 0.5, 1.0)] == [0.0, 0.462, 0.987, 1.0]


def test_dann_is_the_mean_of_both_domains_cross_entropies() -> None:
    state, step = make_step("dann")
    scores = state.algorithm.discriminator(step.outputs.features).detach().sigmoid()[:, 0].tolist()
    source = sum(-math.log(score) for score in scores[:6]) / 6
    target = sum(-math.log(1 - score) for score in scores[6:]) / 10
    value = term(state, step)
    assert value.item() == pytest.approx((source + target) / 2, rel=1e-5)
    features = step.outputs.features
    (against,) = torch.autograd.grad(value, features, retain_graph=True)
    logits = state.algorithm.discriminator(features)[:, 0]
    targets = torch.cat([torch.ones(6), torch.zeros(10)])
    weights = torch.cat([torch.full((6,), 1 / 12), torch.full((10,), 1 / 20)])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
    (along,) = torch.autograd.grad(plain, features)
    assert torch.allclose(against, -warm_start(0.5) * along, atol=1e-7)


@pytest.mark.parametrize("entropy", [True, False])
def test_cdan_sees_products_and_weighs_by_certainty(entropy: bool) -> None:
    state, step = make_step("cdan", options__entropy_conditioning=entropy)
    features, g = step.outputs.features.detach(), step.outputs.assignments.detach()
    joint = torch.stack([torch.outer(g[i], features[i]).flatten() for i in range(16)])
    scores = state.algorithm.discriminator(joint).detach().sigmoid()[:, 0].tolist()
    certainty = [1 + math.exp(sum(p * math.log(p) for p in sample)) if entropy else 1.0 for sample in g.tolist()]
    source = sum(-math.log(s) * w for s, w in zip(scores[:6], certainty[:6], strict=True)) / sum(certainty[:6])
    target = sum(-math.log(1 - s) * w for s, w in zip(scores[6:], certainty[6:], strict=True)) / sum(certainty[6:])
    assert term(state, step).item() == pytest.approx((source + target) / 2, rel=1e-5)


def test_mcc_is_the_confusion_between_classes() -> None:
    state, step = make_step("mcc")
    p = (step.outputs.logits[6:].detach() / 2.5).softmax(1).tolist()
    certainty = [1 + math.exp(sum(x * math.log(x) for x in sample)) for sample in p]
    weights = [10 * c / sum(certainty) for c in certainty]
    confusion = [[sum(w * r[j] * r[k] for w, r in zip(weights, p, strict=True)) for k in range(3)] for j in range(3)]
    indices = [[x / sum(sample) for x in sample] for sample in confusion]
    expected = sum(indices[j][k] for j in range(3) for k in range(3) if j != k) / 3
    assert term(state, step).item() == pytest.approx(expected, rel=1e-5)
