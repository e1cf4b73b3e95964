"""Backbones, the classifier built on them, and the predictor."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from supercm_ray.config import Config, DataConfig, ModelConfig
from supercm_ray.data import Dataset
from supercm_ray.errors import StudyError
from supercm_ray.models import BACKBONES, Classifier, Predictor, build_classifier


def build(digits: Dataset, **assignments: object) -> Classifier:
    config = Config(data=DataConfig(label_ratio=0.1), model=ModelConfig(options={"channels": (4, 8, 6)})).replace(
        assignments
    )
    torch.manual_seed(0)
    return build_classifier(config, digits).eval()


def test_shapes_follow_from_the_configuration(digits: Dataset) -> None:
    features, logits, assignments = build(digits)(torch.rand(5, 1, 8, 8))
    assert (features.shape, logits.shape, assignments.shape) == ((5, 6), (5, 10), (5, 10))
    assert_close(assignments, logits.softmax(dim=1))


def test_one_sample_keeps_its_batch_dimension(digits: Dataset) -> None:
    assert [output.shape for output in build(digits)(torch.rand(1, 1, 8, 8))] == [(1, 6), (1, 10), (1, 10)]


def test_pixels_are_standardised_before_the_backbone(digits: Dataset) -> None:
    classifier, images = build(digits), torch.rand(3, 1, 8, 8)
    wanted = classifier.backbone((images - digits.mean[0]) / digits.std[0])
    assert_close(classifier(images).features, wanted)


def test_the_temperature_of_the_configuration_divides_the_logits(digits: Dataset) -> None:
    images = torch.rand(3, 1, 8, 8)
    plain, cold = build(digits), build(digits, **{"algorithm.temperature": 0.5})
    assert_close(cold(images).logits, 2 * plain(images).logits)


def test_the_predictor_gives_class_probabilities(digits: Dataset) -> None:
    classifier, images = build(digits), torch.rand(3, 1, 8, 8)
    assert torch.equal(Predictor(classifier)(images), classifier(images).assignments)


def test_an_unknown_backbone_is_answered_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"`model\.name` .* got 'smal_cnn'; did you mean `small_cnn`"):
        BACKBONES.find("smal_cnn")
