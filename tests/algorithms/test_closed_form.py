"""Closed-form baselines against scikit-learn, and as runs of their own: resumed, exported, without some classes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.semi_supervised import LabelSpreading

from supercm_ray.algorithms import ALGORITHMS
from supercm_ray.algorithms.gaussian_mixture import GaussianMixtureOptions, fit_gaussians
from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, Splits, make_splits
from supercm_ray.models import Predictor, build_classifier
from supercm_ray.testing.algorithm import toy_dataset
from supercm_ray.training import TrainState, fit
from supercm_ray.training.evaluate import predict

CPU = torch.device("cpu")
NAMES = sorted(name for name, entry in ALGORITHMS.entries().items() if "fixed_features" in entry.requires)


def config_of(name: str, **leaves: Any) -> Config:
    base = Config(
        data=DataConfig(labels_per_class=4),
        model=ModelConfig(name="identity"),
        training=TrainingConfig(num_epochs=1, device="cpu"),
    )
    section = {"algorithm.name": name, "algorithm.clustering_weight": 0.0}
    return base.replace({**section, **{path.replace("__", "."): value for path, value in leaves.items()}})


def start(config: Config, dataset: Dataset, splits: Splits | None = None) -> tuple[TrainState, DeviceData]:
    splits = splits or make_splits(dataset.labels, config.data, config.seed)
    return TrainState.create(config, dataset, CPU, len(splits.unlabeled)), DeviceData.of(dataset, splits, CPU)


def fitted(name: str, dataset: Dataset, **leaves: Any) -> tuple[TrainState, DeviceData]:
    state, data = start(config_of(name, **leaves), dataset)
    history = list(fit(state, data))
    assert [metrics["epoch"] for metrics in history] == [1]
    return state, data


def features(state: TrainState, data: DeviceData, indices: torch.Tensor) -> np.ndarray:
    return predict(state.ema_model, data, indices).features.double().numpy()


PEERS = {
    "nearest_centroid": NearestCentroid,
    "nearest_neighbor": lambda: KNeighborsClassifier(1),
    "logistic_regression": lambda: LogisticRegression(max_iter=1000),
}


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # of pixels that no image sets
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("num_classes", [2, 10])
def test_predicts_as_scikit_learn(name: str, num_classes: int, digits: Dataset) -> None:
    kept = digits.labels < num_classes
    names = digits.class_names[:num_classes]
    dataset = Dataset("few", digits.images[kept], digits.labels[kept], names, digits.mean, digits.std)
    state, data = fitted(name, dataset)
    peer = PEERS[name]().fit(features(state, data, data.labeled), data.labels[data.labeled].numpy())
    found = predict(state.ema_model, data, data.test)
    assert_array_equal(found.logits.argmax(dim=1).numpy(), peer.predict(features(state, data, data.test)))
    if name == "logistic_regression":
        expected = peer.predict_proba(features(state, data, data.test))
        assert_allclose(found.assignments.numpy(), expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
def test_spreads_labels_as_scikit_learn(digits: Dataset) -> None:
    state, data = fitted("label_propagation", digits, algorithm__options__num_neighbors=5)
    both = torch.cat([data.labeled, data.unlabeled])
    labels = np.concatenate([data.labels[data.labeled].numpy(), np.full(len(data.unlabeled), -1)])
    peer = LabelSpreading(kernel="knn", n_neighbors=5, alpha=0.2, max_iter=1000).fit(
        features(state, data, both), labels
    )
    found = predict(state.ema_model, data, data.test)
    expected = peer.predict_proba(features(state, data, data.test))
    unreached = np.isnan(expected).any(axis=1)
    assert 0 < unreached.sum() < 20, "the case has samples that no label reaches, of which scikit-learn says nothing"
    assert_allclose(found.assignments.numpy()[~unreached], expected[~unreached], atol=1e-4)
    assert (found.logits.argmax(dim=1) == data.labels[data.test]).double().mean() > 0.85


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_mixture_without_weight_of_labels_is_that_of_scikit_learn(covariance: str) -> None:
    """With many unlabeled samples the few labeled ones only name the components."""
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 5.0, 2.0]])
    own = rng.integers(0, 3, 6000)
    samples = centers[own] + rng.normal(0, [0.7, 0.7, 0.7], (6000, 3))
    options = GaussianMixtureOptions(covariance=covariance, weights="fitted")
    found = fit_gaussians(samples[:9], own[:9], samples[9:], options)
    peer = GaussianMixture(3, covariance_type="diag", means_init=centers, tol=1e-7).fit(samples)
    assert set(own[:9]) == {0, 1, 2}
    assert_allclose(found.means, peer.means_, atol=0.02)
    assert_allclose(np.exp(found.log_weights), peer.weights_, atol=0.01)
    assert_allclose(found.variances, peer.covariances_.mean(axis=0), atol=0.02)


def test_mixture_keeps_labeled_samples_in_their_class() -> None:
    """A labeled sample counts for its class however far away it lies; without labels of weight it would not."""
    labeled, labels = np.array([[0.0], [9.0], [10.0]]), np.array([0, 0, 1])
    unlabeled = np.concatenate([np.full((20, 1), -0.5), np.full((20, 1), 10.5)])
    options = GaussianMixtureOptions(weights="equal")
    found = fit_gaussians(labeled, labels, unlabeled, options)
    assert_allclose(found.means[0], (0 + 9 - 0.5 * 20) / 22, atol=1e-3)
    none = fit_gaussians(labeled, labels, unlabeled, GaussianMixtureOptions(unlabeled_weight=0.0))
    assert_allclose(none.means[:, 0], [4.5, 10.0])


@pytest.mark.parametrize("name", NAMES)
def test_hidden_labels_change_nothing(name: str) -> None:
    dataset = toy_dataset()
    config = config_of(name)
    splits = make_splits(dataset.labels, config.data, config.seed)
    hidden, labels = np.concatenate([splits.unlabeled, splits.test]), dataset.labels.copy()
    labels[hidden] = np.random.default_rng(5).permutation(labels[hidden])
    poisoned = Dataset("toy", dataset.images, labels, dataset.class_names, dataset.mean, dataset.std)
    ends = []
    for one in (dataset, poisoned):
        state, data = start(config, one, splits)
        list(fit(state, data))
        ends.append(predict(state.ema_model, data, data.test).logits)
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", NAMES)
def test_only_those_that_say_so_see_unlabeled_samples(name: str, digits: Dataset) -> None:
    ends = []
    for inverted in (False, True):
        state, data = start(config_of(name), digits)
        images = data.images.clone()
        if inverted:
            images[data.unlabeled] = 255 - images[data.unlabeled]
        list(fit(state, DeviceData(images, *(getattr(data, part) for part in PARTS))))
        ends.append(predict(state.ema_model, data, data.test).logits)
    assert torch.equal(*ends) == (not state.config.algorithm.uses_unlabeled)


PARTS = ("labels", "labeled", "unlabeled", "val", "test", "std")


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_labels_is_never_predicted(name: str) -> None:
    dataset = toy_dataset(4)
    config = config_of(name)
    splits = make_splits(dataset.labels, config.data, config.seed)
    kept = splits.labeled[dataset.labels[splits.labeled] != 1]
    state, data = start(config, dataset, Splits(kept, splits.unlabeled, splits.val, splits.test))
    (metrics,) = fit(state, data)
    assert np.isfinite(metrics["val/loss"]) and np.isfinite(metrics["train/loss"])
    assert 1 not in predict(state.ema_model, data, data.test).logits.argmax(dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_one_labeled_class_alone(name: str) -> None:
    dataset = toy_dataset(3)
    config = config_of(name)
    splits = make_splits(dataset.labels, config.data, config.seed)
    kept = splits.labeled[dataset.labels[splits.labeled] == 2]
    state, data = start(config, dataset, Splits(kept, splits.unlabeled, splits.val, splits.test))
    list(fit(state, data))
    assert set(predict(state.ema_model, data, data.test).logits.argmax(dim=1).tolist()) == {2}


@pytest.mark.parametrize("name", NAMES)
def test_saved_state_predicts_the_same(name: str, digits: Dataset) -> None:
    state, data = fitted(name, digits)
    saved = copy.deepcopy(state.state_dict())
    resumed, _ = start(state.config, digits)
    resumed.load_state_dict(saved)
    assert resumed.epoch == 1 and not list(fit(resumed, data))
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(state.config, digits)
    network.load_state_dict(saved["ema_model"])
    for model in (resumed.ema_model, network):
        ours, theirs = (predict(one, data, data.test).logits for one in (state.ema_model, model))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_exports_for_any_number_of_samples(name: str, digits: Dataset) -> None:
    """As the tracker stores it."""
    state, data = fitted(name, digits)
    predictor, images = Predictor(state.ema_model), data.images[data.test]
    sizes = {"inputs": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(predictor, (images[:4],), dynamic_shapes=sizes).module()
    assert_allclose(program(images[:300]).numpy(), predictor(images[:300]).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("leaves", "place"),
    [
        ({"model__name": "small_cnn"}, "model.name"),
        ({"model__bottleneck": 8}, "model.bottleneck"),
        ({"training__num_epochs": 3}, "training.num_epochs"),
        ({"algorithm__clustering_weight": 0.5}, "algorithm.clustering_weight"),
    ],
    ids=["trained network", "bottleneck", "epochs", "clustering"],
)
def test_what_has_no_meaning_is_refused(leaves: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as error:
        config_of("logistic_regression", **leaves)
    (detail,) = error.value.errors()
    assert place.endswith(detail["ctx"]["path"]) or detail["ctx"]["path"] == place


def test_a_frozen_network_will_do(digits: Dataset) -> None:
    leaves = {"model__name": "small_cnn", "model__frozen": True}
    state, data = fitted("logistic_regression", digits, **leaves)
    assert state.model.clustering.head.in_features == 64
    assert (
        predict(state.ema_model, data, data.test).logits.argmax(dim=1) == data.labels[data.test]
    ).double().mean() > 0.2
