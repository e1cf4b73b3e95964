"""What the baselines without a loss on unlabeled samples see of these, and the prior that every arm can have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from supercm_ray.core import balance_prior
from supercm_ray.data import DeviceData, draw_batch
from supercm_ray.training import fit, train_epoch, train_step

WITHOUT = {"algorithm.clustering_weight": 0.0}


def with_other_pixels(data: DeviceData, indices: torch.Tensor) -> DeviceData:
    """Returns the data with the images at these indices inverted."""
    images = data.images.clone()
    images[indices] = 255 - images[indices]
    return DeviceData(images, data.labels, data.labeled, data.unlabeled, data.val, data.test, data.std)


def trained(start, leaves, *, inverted: bool) -> dict[str, torch.Tensor]:
    state, data = start(leaves)
    list(fit(state, with_other_pixels(data, data.unlabeled) if inverted else data))
    return state.model.state_dict()


def moved(start, leaves) -> set[str]:
    """Returns what of the network depends on the unlabeled images."""
    plain, other = (trained(start, leaves, inverted=inverted) for inverted in (False, True))
    return {name for name in plain if not torch.equal(plain[name], other[name])}


def test_supervised_sees_no_unlabeled_sample(start) -> None:
    assert moved(start, WITHOUT) == set()


@pytest.mark.parametrize(
    "leaves",
    [
        {},
        {**WITHOUT, "algorithm.name": "adabn"},
        {**WITHOUT, "algorithm.balance_alpha": 1.03, "algorithm.balance_weight": 0.5},
        {**WITHOUT, "algorithm.name": "vat"},
    ],
    ids=["clustering", "adabn", "prior", "vat"],
)
def test_others_see_unlabeled_samples(start, leaves) -> None:
    assert "clustering.head.weight" in moved(start, leaves)


def test_adabn_differs_from_supervised_by_batch_norm_alone(start) -> None:
    state, data = start({**WITHOUT, "algorithm.name": "adabn"})
    batch = draw_batch(data, data.labeled[:10], data.unlabeled[:20], state.config, state.generator)
    terms = train_step(state, batch)
    assert set(terms) == {"loss", "supervised", "clustering"}
    assert_close(terms["loss"], terms["supervised"])
    plain, _ = start(WITHOUT)
    alone = train_step(plain, replace(batch, unlabeled=batch.unlabeled[:0], unlabeled_clean=batch.unlabeled_clean[:0]))
    assert not torch.equal(alone["loss"], terms["loss"]), "BatchNorm normalises by labeled samples alone there"


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_weight_of_the_prior_is_its_own(start, weight: float) -> None:
    leaves = {"algorithm.balance_alpha": 1.3, "algorithm.balance_weight": 0.4, "algorithm.clustering_weight": weight}
    state, data = start({**leaves, "algorithm.centroid_source": "batch"})
    batch = draw_batch(data, data.labeled[:10], data.unlabeled[:20], state.config, state.generator)
    logits = state.model(torch.cat([batch.labeled, batch.unlabeled])).logits
    terms = train_step(state, batch)
    plain, _ = start({"algorithm.clustering_weight": weight, "algorithm.centroid_source": "batch"})
    assert_close(terms["clustering"], train_step(plain, batch)["clustering"])  # which has no prior of its own
    assert_close(terms["balance_prior"], balance_prior(logits, 1.3).detach(), rtol=1e-4, atol=1e-4)
    whole = terms["supervised"] + weight * terms["clustering"] + 0.4 * terms["balance_prior"]
    assert_close(terms["loss"], whole)


def test_a_prior_with_its_weight_needs_an_alpha(start) -> None:
    with pytest.raises(ValidationError, match="balance_alpha"):
        start({"algorithm.balance_weight": 0.4})


def test_no_unlabeled_sample_is_needed(start) -> None:
    state, data = start(WITHOUT)
    none = DeviceData(data.images, data.labels, data.labeled, data.unlabeled[:0], data.val, data.test, data.std)
    assert np.isfinite(train_epoch(state, none)["loss"])


def test_steps_are_counted_without_unlabeled_samples(start) -> None:
    state, _ = start(WITHOUT)
    training = state.config.training
    assert training.unlabeled_batch_size > 0
    assert (state.config.unlabeled_batch_size, state.config.batch_size) == (0, training.labeled_batch_size)
