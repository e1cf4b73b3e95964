"""Evaluation, against a loop over samples."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from supercm_ray.training import evaluate, fit


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(start, training: bool) -> None:
    state, data = start()
    list(fit(state, data))
    state.model.train(training)
    before = copy.deepcopy(state.model.state_dict())
    evaluate(state.model, data, data.val)
    assert state.model.training is training
    assert all(module.training is training for module in state.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


def test_figures_equal_a_loop_over_samples(start) -> None:
    state, data = start()
    list(fit(state, data))
    result = evaluate(state.model, data, data.val)
    state.model.eval()
    confusion, losses = torch.zeros(10, 10, dtype=torch.int64), []
    for sample in data.val.tolist():
        logits = state.model(data.images[sample : sample + 1] / 255.0).logits[0].detach().double()
        label = int(data.labels[sample])
        confusion[label, int(logits.argmax())] += 1
        losses.append((logits.logsumexp(dim=0) - logits[label]).item())
    assert torch.equal(result.confusion, confusion)
    assert result.accuracy == pytest.approx(confusion.diagonal().sum().item() / len(losses))
    assert result.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert confusion.sum() - confusion.diagonal().sum() > 10, "the case has confusions of both kinds"
    assert not torch.equal(confusion, confusion.T)


def test_samples_come_back_in_the_order_asked_for(start) -> None:
    state, data = start()
    indices = data.val.flip(0)
    result = evaluate(state.model, data, indices)
    assert torch.equal(result.labels, data.labels[indices])
    state.model.eval()
    outputs = state.model(data.pixels(indices))
    assert_close(result.features, outputs.features.detach())
    assert torch.equal(result.predictions, outputs.logits.argmax(dim=1))


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_the_batch_size_does_not_matter(start, batch_size: int) -> None:
    state, data = start()
    wanted, got = evaluate(state.model, data, data.val), evaluate(state.model, data, data.val, batch_size)
    assert torch.equal(got.confusion, wanted.confusion)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-5)


def test_no_graph_is_kept(start) -> None:
    state, data = start()
    assert not evaluate(state.model, data, data.val).features.requires_grad
