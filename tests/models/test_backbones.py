"""Every backbone maps images to features, with the sizes its source gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision.models
from pydantic import ValidationError
from torch import nn

from supercm_ray.config import ModelConfig
from supercm_ray.errors import StudyError
from supercm_ray.models import BACKBONES, build_backbone
from supercm_ray.models.torchvision_backbone import TorchvisionBackbone, torchvision_names


@pytest.mark.parametrize(
    ("name", "num_parameters", "num_features"), [("wrn_28_2", 1_467_610, 128), ("wrn_28_8", None, 512)]
)
def test_wide_resnets_have_the_published_size(name: str, num_parameters: int | None, num_features: int) -> None:
    backbone = build_backbone((3, 32, 32), ModelConfig(name=name))
    assert backbone.num_features == num_features
    if num_parameters is not None:
        head = nn.Linear(num_features, 10)
        counted = sum(p.numel() for module in (backbone, head) for p in module.parameters())
        assert counted == num_parameters


@pytest.mark.parametrize(("side", "seen"), [(8, 11), (16, 15), (28, 15)])
def test_a_feature_of_the_small_network_sees_a_good_part_of_a_larger_image(side: int, seen: int) -> None:
    """Pixels along one axis that reach the middle of the last map, from the gradient with respect to the image."""
    backbone = build_backbone((1, side, side), ModelConfig(options={"channels": (8, 8, 8)})).eval()
    image = torch.randn(1, 1, side, side, requires_grad=True)
    last = backbone.layers(image)
    last[0, :, last.shape[2] // 2, last.shape[3] // 2].sum().backward()
    assert last.shape[2] < 8
    assert image.grad is not None
    assert (image.grad[0, 0] != 0).any(dim=1).sum() >= min(seen, side)


@pytest.mark.parametrize("name", ["small_cnn", "mlp", "wrn_28_2", "resnet18", "mobilenet_v3_small", "vgg11"])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_have_the_promised_shape_and_gradients(name: str, channels: int) -> None:
    side = 32 if name != "vgg11" else 64
    backbone = build_backbone((channels, side, side), ModelConfig(name=name))
    images = torch.randn(2, channels, side, side, requires_grad=True)
    features = backbone(images)
    assert features.shape == (2, backbone.num_features)
    features.square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_mlp_takes_ready_made_features() -> None:
    backbone = build_backbone((1024, 1, 1), ModelConfig(name="mlp", options={"channels": (128,)}))
    assert backbone(torch.randn(5, 1024, 1, 1)).shape == (5, 128)


def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / "resnet18.pt")
    config = ModelConfig(name="resnet18", options={"weights": str(tmp_path / "resnet18.pt")})
    backbone = build_backbone((3, 64, 64), config).eval()
    source.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone(images), source.eval()(images))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "other.pt")
    (tmp_path / "broken.pt").write_bytes(b"nonsense")
    for name in ("other.pt", "broken.pt", "missing.pt"):
        with pytest.raises(StudyError, match=r"model\.options\.weights.*the weights of resnet18, got"):
            build_backbone((3, 64, 64), ModelConfig(name="resnet18", options={"weights": str(tmp_path / name)}))
    with pytest.raises(ValidationError, match="a known option"):
        ModelConfig(options={"weight": "x.pt"})


@pytest.mark.parametrize(
    ("name", "side", "num_features"),
    [("squeezenet1_0", 32, 512), ("squeezenet1_1", 32, 512), ("googlenet", 32, 1024), ("inception_v3", 75, 2048)],
)
def test_models_with_another_head_or_several_give_their_features(name: str, side: int, num_features: int) -> None:
    backbone = build_backbone((1, side, side), ModelConfig(name=name))
    assert backbone.num_features == num_features
    images = torch.randn(2, 1, side, side)
    for training in (True, False):
        assert backbone.train(training)(images).shape == (2, num_features)
    backbone(images).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in backbone.parameters())


def test_weights_of_a_model_with_several_outputs_load(tmp_path: Path) -> None:
    source = torchvision.models.googlenet(init_weights=False, transform_input=True)
    torch.save(source.state_dict(), tmp_path / "googlenet.pt")
    config = ModelConfig(name="googlenet", options={"weights": str(tmp_path / "googlenet.pt")})
    backbone = build_backbone((3, 64, 64), config).eval()
    source.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone(images), source.eval()(images))


def test_every_model_of_torchvision_has_features() -> None:
    names = [name for name in torchvision_names() if not name.startswith("regnet")]  # which read tensors as they start
    assert len(names) > 50
    with torch.device("meta"):
        assert all(TorchvisionBackbone(name).num_features > 0 for name in names)
    assert build_backbone((3, 32, 32), ModelConfig(name="regnet_x_400mf")).num_features == 400


def test_a_model_with_no_last_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: nn.Sequential(nn.ReLU()))
    with pytest.raises(StudyError, match="got 'resnet18'; take another"):
        build_backbone((3, 64, 64), ModelConfig(name="resnet18"))


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(StudyError, match="did you mean `resnet50`"):
        BACKBONES.find("resnet5O")
