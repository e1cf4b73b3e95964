"""What every backbone promises. Shapes: B images, C channels, H by W pixels, D features.

class TestMine(BackboneContract):
name = "mine"
options = {"width": 8}
shape = (1, 28, 28)
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from supercm_ray.config import Config, DataConfig, ModelConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, split_dataset
from supercm_ray.models import build_backbone
from supercm_ray.training import TrainState, fit


class BackboneContract:
    """Tests of a registered backbone: shape of its features, gradients, state, evaluation and an epoch of training.

    Attributes:
        name: the registered name.
        options: as a study file gives them.
        shape: (C, H, W) of images that the backbone takes.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, object]] = {}
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def config(self) -> ModelConfig:
        """Returns the model section of a study file."""
        return ModelConfig.model_validate({"name": self.name, "options": dict(self.options)})

    def make(self, seed: int = 0) -> nn.Module:
        """Creates the backbone with the weights of this seed."""
        torch.manual_seed(seed)
        return build_backbone(self.shape, self.config())

    def images(self, num_images: int) -> Tensor:
        """Returns standardised images (B, C, H, W)."""
        return torch.randn(num_images, *self.shape, generator=torch.Generator().manual_seed(1))

    def test_features_have_the_promised_shape(self) -> None:
        """Features are (B, num_features) in fp32, in training and in evaluation."""
        backbone = self.make()
        assert isinstance(backbone.num_features, int)
        for training in (True, False):
            features = backbone.train(training)(self.images(4))
            assert features.shape == (4, backbone.num_features)
            assert features.dtype == torch.float32

    def test_gradients_reach_images_and_parameters(self) -> None:
        """Each trained parameter gets a finite gradient, and so do the images."""
        backbone, images = self.make().train(), self.images(4).requires_grad_()
        backbone(images).square().sum().backward()
        gradients = {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}
        missing = [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
        assert not missing, f"no finite gradient for {missing}"
        assert images.grad is not None
        assert images.grad.isfinite().all()
        assert images.grad.any()

    def test_the_seed_decides_the_weights(self) -> None:
        """Weights come from torch's global generator alone."""
        one, same, other = (self.make(seed).eval() for seed in (0, 0, 1))
        images = self.images(2)
        assert torch.equal(one(images), same(images))
        assert not torch.equal(one(images), other(images))

    def test_the_state_makes_a_round_trip(self) -> None:
        """Everything that evaluation depends on is in `state_dict`, as plain tensors."""
        one, other = self.make(0), self.make(1)
        one.train()(self.images(4))
        file = io.BytesIO()
        torch.save(one.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        images = self.images(3)
        assert torch.equal(one.eval()(images), other.eval()(images))

    def test_a_copy_is_independent(self) -> None:
        """A deep copy, such as the moving average, computes the same and does not change with the original."""
        backbone = self.make().eval()
        images = self.images(2)
        twin, before = copy.deepcopy(backbone), backbone(images).detach()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(1.0)
        assert torch.equal(twin(images), before)

    def test_evaluation_is_deterministic(self) -> None:
        """In evaluation the same images give the same features and leave the state unchanged."""
        backbone = self.make().eval()
        before = copy.deepcopy(backbone.state_dict())
        images = self.images(4)
        assert torch.equal(backbone(images), backbone(images))
        assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())

    def test_evaluation_takes_any_batch_size(self) -> None:
        """In evaluation an image has the same features alone and among others."""
        backbone, images = self.make().eval(), self.images(5)
        with torch.no_grad():
            together = backbone(images)
            for size in (1, 2, 3):
                features = backbone(images[:size])
                assert features.shape == (size, backbone.num_features)
                assert_close(features, together[:size], rtol=1e-3, atol=1e-4)

    def test_an_epoch_trains(self) -> None:
        """A run of one epoch ends with finite metrics and other weights."""
        rng, num_images = np.random.default_rng(0), 48
        labels = np.arange(num_images) % 3
        images = rng.integers(0, 256, (num_images, *self.shape)).astype(np.uint8)
        statistics = (0.5,) * self.shape[0]
        dataset = Dataset("noise", images, labels, ("a", "b", "c"), statistics, statistics)
        config = Config(
            data=DataConfig(labels_per_class=3, shift_pixels=0),
            model=self.config(),
            training=TrainingConfig(
                num_epochs=1, steps_per_epoch=2, labeled_batch_size=4, unlabeled_batch_size=4, device="cpu"
            ),
        )
        device = torch.device("cpu")
        state = TrainState.create(config, dataset, device)
        before = copy.deepcopy(state.model.backbone.state_dict())
        (metrics,) = fit(state, DeviceData.of(dataset, split_dataset(dataset, config), device))
        assert all(math.isfinite(value) for value in metrics.values())
        assert any(not torch.equal(value, before[name]) for name, value in state.model.backbone.state_dict().items())
