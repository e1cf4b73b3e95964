"""Each algorithm's term against its equation, computed by hand."""

from __future__ import annotations

import copy
import dataclasses
import math

import flexmatch_plugin
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from supercm_ray.algorithms import Step, build_algorithm, frozen_statistics
from supercm_ray.algorithms.adversarial import reverse_gradient, warm_start
from supercm_ray.data import Batch, draw_batch, epoch_indices
from supercm_ray.testing.algorithm import AlgorithmContract
from supercm_ray.training import TrainState, train_step


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


@pytest.mark.parametrize(("rampup", "progress", "kept"), [(False, 0.0, 0.75), (True, 0.5, 0.75), (True, 1 / 9, 0.5)])
def test_mean_teacher_follows_by_its_decay_and_gives_the_target(rampup: bool, progress: float, kept: float) -> None:
    """In a run of nine steps, the ramp is 1 - 1 / (t + 1)."""
    state, step = make_step("mean_teacher", options__decay=0.75, options__decay_rampup=rampup)
    step = dataclasses.replace(step, progress=progress)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(0.1)
    teacher = copy.deepcopy(state.algorithm.teacher)
    with torch.no_grad():
        for ours, theirs in zip(teacher.parameters(), state.model.parameters(), strict=True):
            ours.copy_(kept * ours + (1 - kept) * theirs)
        for ours, theirs in zip(teacher.buffers(), state.model.buffers(), strict=True):
            ours.copy_(theirs)
    target = teacher(replayed(step).weak_view()).logits.softmax(1)
    expected = (step.outputs.logits[6:].softmax(1) - target).square().mean()
    value = term(state, step)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in state.algorithm.parameters())


@pytest.mark.parametrize("resumed", [False, True])
def test_the_young_teacher_is_the_mean_network(resumed: bool) -> None:
    """While its decay rises, the teacher is the mean of the first network and those after each step, resumed or not."""
    state, step = make_step("mean_teacher", options__decay=0.999)
    networks = []
    for number in range(6):
        if resumed and number == 3:
            saved = copy.deepcopy(state.state_dict())
            state, _ = make_step("mean_teacher", options__decay=0.999)
            state.load_state_dict({**saved, "history": [{"epoch": 1}]})
        networks.append([parameter.detach().double() for parameter in state.model.parameters()])
        train_step(state, step.batch)
    assert (networks[5][0] - networks[0][0]).abs().max() > 1e-3
    for teacher, *others in zip(state.algorithm.teacher.parameters(), *networks, strict=True):
        assert_close(teacher.double(), torch.stack(others).mean(dim=0), rtol=1e-5, atol=1e-6)


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


def strong_log_probability(step: Step) -> list[list[float]]:
    """Of the strong view that the algorithm is about to draw."""
    again = replayed(step)
    rows: list[list[float]] = again.model(again.strong_view()).logits.log_softmax(1).tolist()
    return rows


def weak_probability(step: Step) -> list[list[float]]:
    rows: list[list[float]] = step.outputs.logits[6:].softmax(1).tolist()
    return rows


@pytest.mark.parametrize("warm_up", [True, False])
def test_flexmatch_has_a_threshold_for_each_class_by_what_is_recorded(warm_up: bool) -> None:
    state, step = make_step("flexmatch", options__threshold=0.4, options__warm_up=warm_up)
    recorded = state.algorithm.recorded
    assert recorded.tolist() == [-1] * len(recorded)
    recorded[20:26] = torch.tensor([0, 0, 0, 0, 1, 1])
    most = len(recorded) - 6 if warm_up else 4
    share = [4 / most, 2 / most, 0.0]
    thresholds = [0.4 * b / (2 - b) for b in share]
    assert state.algorithm.thresholds().tolist() == pytest.approx(thresholds)
    before, expected = recorded.tolist(), 0.0
    for p, log_q in zip(weak_probability(step), strong_log_probability(step), strict=True):
        k = p.index(max(p))
        expected -= log_q[k] / 10 if max(p) > thresholds[k] else 0.0
    assert term(state, step).item() == pytest.approx(expected, rel=1e-5)
    for i, p in zip(step.batch.unlabeled_indices.tolist(), weak_probability(step), strict=True):
        before[i] = p.index(max(p)) if max(p) > 0.4 else before[i]
    assert recorded.tolist() == before
    assert any(label >= 0 for label in before[:20] + before[26:])


def test_flexmatch_as_a_plugin_is_the_built_in_one_without_warm_up() -> None:
    ends = []
    for name, changes in (("flexmatch", {"options__warm_up": False}), ("my_flexmatch", {})):
        state, step = make_step(name, options__threshold=0.36, **changes)
        ends.append([train_step(state, step.batch)["consistency"].item() for _ in range(3)])
    assert ends[0] == ends[1]
    assert ends[0][1] > 0


def test_freematch_thresholds_follow_confidence_and_classes() -> None:
    state, step = make_step("freematch", options__decay=0.1, options__fairness_weight=0.5)
    p = weak_probability(step)
    best = [sample.index(max(sample)) for sample in p]
    confidence = 0.1 / 3 + 0.9 * sum(map(max, p)) / 10
    mean = [0.1 / 3 + 0.9 * sum(sample[k] for sample in p) / 10 for k in range(3)]
    histogram = [0.1 / 3 + 0.9 * best.count(k) / 10 for k in range(3)]
    thresholds = [confidence * value / max(mean) for value in mean]
    selected = [max(sample) > thresholds[k] for sample, k in zip(p, best, strict=True)]
    assert 0 < sum(selected) < 10
    log_q = strong_log_probability(step)
    consistency = sum(-row[k] / 10 for row, k, take in zip(log_q, best, selected, strict=True) if take)
    chosen = [[math.exp(x) for x in row] for row, take in zip(log_q, selected, strict=True) if take]
    labels = [row.index(max(row)) for row in chosen]
    ratio = [sum(row[k] for row in chosen) / labels.count(k) if k in labels else 0.0 for k in range(3)]
    target = [m / h for m, h in zip(mean, histogram, strict=True)]
    fairness = sum(target[k] / sum(target) * math.log(ratio[k] / sum(ratio)) for k in set(labels))
    terms = state.algorithm(step)
    assert terms["consistency"].item() == pytest.approx(consistency, rel=1e-5)
    assert terms["fairness"].item() == pytest.approx(0.5 * fairness, rel=1e-4)
    assert state.algorithm.confidence.item() == pytest.approx(confidence)
    assert state.algorithm.class_mean.tolist() == pytest.approx(mean)
    assert state.algorithm.histogram.tolist() == pytest.approx(histogram)


@pytest.mark.parametrize("aligned", [True, False])
def test_softmatch_weighs_samples_by_a_truncated_gaussian(aligned: bool) -> None:
    state, step = make_step("softmatch", options__decay=0.25, options__uniform_alignment=aligned)
    p, expected = weak_probability(step), 0.0
    mean_K = [0.25 / 3 + 0.75 * sum(sample[k] for sample in p) / 10 for k in range(3)]
    ratio = [[x / m for x, m in zip(sample, mean_K, strict=True)] for sample in p] if aligned else p
    confidence = [max(sample) / sum(sample) for sample in ratio]
    own_mean = sum(confidence) / 10
    mean = 0.25 / 3 + 0.75 * own_mean
    variance = 0.25 * 1.0 + 0.75 * sum((c - own_mean) ** 2 for c in confidence) / 9
    assert any(c < mean for c in confidence)
    for sample, c, log_q in zip(p, confidence, strong_log_probability(step), strict=True):
        weight = math.exp(-((c - mean) ** 2) / (2 * variance)) if c < mean else 1.0
        expected -= weight * log_q[sample.index(max(sample))] / 10
    assert term(state, step).item() == pytest.approx(expected, rel=1e-5)
    assert (state.algorithm.mean.item(), state.algorithm.variance.item()) == pytest.approx((mean, variance))


def test_a_sample_that_a_batch_holds_twice_is_recorded_the_same_in_any_order() -> None:
    for labels in ([1, 2, -1], [2, -1, 1], [-1, 1, 2]):
        state, _ = make_step("flexmatch")
        state.algorithm._record(torch.tensor([5, 5, 5]), torch.tensor(labels))
        assert state.algorithm.recorded[5] == 2


def test_an_algorithm_of_indices_must_be_told_how_many_there_are() -> None:
    state, step = make_step("flexmatch")
    with pytest.raises(ValueError, match="`num_unlabeled >= 1` must hold for flexmatch, got 0"):
        build_algorithm(state.model, step.config)


def test_options_of_another_model_are_not_taken_for_its_own() -> None:
    _, step = make_step("vat")
    with pytest.raises(AssertionError, match="vat has options of VatOptions"):
        step.options(flexmatch_plugin.Options)
