"""Statistics of BatchNorm before the first step, against torch's own function, and that nothing else changes."""

from __future__ import annotations

import copy
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.testing import assert_close

from supercm_ray.data import Dataset, DeviceData, split_dataset
from supercm_ray.training import TrainState, fit
from supercm_ray.training.calibration import calibrate_batch_norm
from supercm_ray.training.loop import calibrate, epoch_batches


def network() -> nn.Sequential:
    """Two layers with BatchNorm, on inputs far from its initial statistics."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2))


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [1e4 * torch.rand(6, 3, generator=generator) for _ in range(3)]


def test_the_statistics_are_those_of_torch() -> None:
    ours, theirs = network(), network()
    calibrate_batch_norm(ours, batches())
    update_bn(batches(), theirs)
    assert_close(ours.state_dict(), theirs.state_dict())
    first = torch.stack([ours[0](batch).var(dim=0) for batch in batches()]).mean(dim=0)
    assert_close(ours[1].running_var, first.detach())


def test_a_frozen_layer_keeps_its_statistics_and_normalises_by_them() -> None:
    model = network()
    model[1].eval()
    before = copy.deepcopy(model[1].state_dict())
    calibrate_batch_norm(model, batches())
    assert_close(model[1].state_dict(), before, rtol=0, atol=0)
    hidden = [model[3](model[2](model[1](model[0](batch)))) for batch in batches()]
    assert_close(model[4].running_mean, torch.stack([one.mean(dim=0) for one in hidden]).mean(dim=0).detach())


def test_the_network_is_left_as_it_was_but_for_statistics() -> None:
    model = nn.Sequential(network(), nn.Dropout(0.5), nn.BatchNorm1d(2, momentum=0.3))
    model[0][4].eval()
    modes = [module.training for module in model.modules()]
    parameters = copy.deepcopy(list(model.parameters()))
    state = torch.get_rng_state()
    calibrate_batch_norm(model, batches())
    assert [module.training for module in model.modules()] == modes
    assert model[2].momentum == 0.3
    assert_close(list(model.parameters()), parameters, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state), "dropout drew nothing"


def test_a_network_without_batch_norm_reads_nothing() -> None:
    calibrate_batch_norm(nn.Linear(1, 1), iter([]))
    calibrate_batch_norm(network().eval(), (1 / 0 for _ in [0]))


def test_a_run_begins_with_the_statistics_of_its_first_batches(start) -> None:
    state, data = start()
    twin, _ = start()
    generator = state.generator.get_state()
    calibrate(state, data)
    assert torch.equal(state.generator.get_state(), generator)
    assert_close(state.ema_model.state_dict(), state.model.state_dict(), rtol=0, atol=0)
    first = [torch.cat([batch.labeled, batch.unlabeled]) for batch in islice(epoch_batches(twin, data), 3)]
    update_bn(first, twin.model)
    assert_close(state.model.state_dict(), twin.model.state_dict())


def test_a_run_that_goes_on_keeps_its_statistics(start) -> None:
    state, data = start()
    next(fit(state, data))
    before = copy.deepcopy(state.model.state_dict())
    calls = []
    hook = state.model.register_forward_pre_hook(lambda *_: calls.append(copy.deepcopy(state.model.state_dict())))
    next(fit(state, data))
    hook.remove()
    assert_close(calls[0], before, rtol=0, atol=0)


def vectors(scale: float) -> Dataset:
    """Four blobs of vectors, in units that make them `scale` times as large."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    inputs = 3 * np.random.default_rng(1).normal(size=(4, 16))[labels] + rng.normal(size=(400, 16))
    images = (scale * inputs).astype(np.float32)[:, :, None, None]
    return Dataset("blobs", images, labels, tuple("abcd"), (0.0,), (1.0,))


@pytest.mark.parametrize("source", ["eval_pass", "batch"])
def test_the_unit_of_the_inputs_does_not_matter(tiny, source: str) -> None:
    config = tiny(
        {
            "model.name": "mlp",
            "model.options.channels": [16],
            "algorithm.clustering_weight": 1.0,
            "algorithm.centroid_source": source,
            "training.learning_rate": 0.01,
            "training.steps_per_epoch": 10,
        }
    )
    losses = []
    for scale in (1.0, 1e3, 1e6):
        dataset, cpu = vectors(scale), torch.device("cpu")
        state = TrainState.create(config, dataset, cpu)
        *_, last = fit(state, DeviceData.of(dataset, split_dataset(dataset, config), cpu))
        assert last["val/accuracy"] > 0.95
        losses.append(last["train/clustering"])
    assert losses[1:] == pytest.approx(losses[1:2] * 2, rel=0.1)
    assert losses[0] == pytest.approx(losses[1], rel=0.5)
