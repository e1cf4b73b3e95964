"""Weights in files of every form that is in use, and what does not fit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision.models
from torch import Tensor, nn

from supercm_ray.config import ModelConfig
from supercm_ray.errors import StudyError
from supercm_ray.models import BACKBONES, SmallCNN, WeightsOptions, build_backbone

SHAPE = (1, 8, 8)
State = dict[str, Tensor]


def changed(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


FORMS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "of a data-parallel model": lambda state: {f"module.{key}": value for key, value in state.items()},
    "nested": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: torch.zeros(2)}}},
    "nested with a prefix": lambda state: {"model": {f"module.encoder.{key}": v for key, v in state.items()}},
    "with a moving average": lambda state: {"model": changed(state), "ema": state},
    "with another head": lambda state: {**state, "fc.weight": torch.zeros(7, 8), "fc.bias": torch.zeros(7)},
    "of this package": lambda state: {
        "model": {f"backbone.{key}": value for key, value in changed(state).items()},
        "ema_model": {**{f"backbone.{key}": value for key, value in state.items()}, "mean": torch.zeros(1)},
    },
    "without counts of batches": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


class Plain(SmallCNN):
    """A backbone of a plug-in, which loads nothing itself."""


@pytest.fixture(params=["small_cnn", "plug_in"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> ModelConfig:
    """The section of a backbone whose weights are in `weights.pt`."""
    BACKBONES.add("plug_in", lambda shape, options: Plain(shape, (4, 8)), options=WeightsOptions)
    own = {"channels": (4, 8)} if request.param == "small_cnn" else {}
    return ModelConfig(name=request.param, options={**own, "weights": str(tmp_path / "weights.pt")})


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_loads(form: str, config: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = SmallCNN(SHAPE, (4, 8)).eval()
    torch.save(FORMS[form](source.state_dict()), tmp_path / "weights.pt")
    images = torch.randn(2, *SHAPE)
    assert torch.equal(build_backbone(SHAPE, config).eval()(images), source(images))


def test_safetensors_load(tmp_path: Path) -> None:
    source = SmallCNN(SHAPE, (4, 8)).eval()
    safetensors.torch.save_file(source.state_dict(), tmp_path / "a.safetensors")
    config = ModelConfig(options={"channels": (4, 8), "weights": str(tmp_path / "a.safetensors")})
    images = torch.randn(2, *SHAPE)
    assert torch.equal(build_backbone(SHAPE, config).eval()(images), source(images))


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (SmallCNN((3, 8, 8), (4, 8)).state_dict(), "1 have another shape, first 0.weight with (4, 3, 3, 3) in the"),
        ({"other": torch.zeros(1)}, "10 of 12 weights are missing, first 0.weight; 1 are unknown, first other;"),
        ({}, "10 of 12 weights are missing"),
        ({**SmallCNN(SHAPE, (4, 8)).state_dict(), "layers.9.weight": torch.zeros(1)}, "1 are unknown, first 9.weight"),
        (SmallCNN(SHAPE, (4, 8)), "save it anew with torch.save(model.state_dict(), ...)"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(saved: object, expected: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "a.pt")
    with pytest.raises(StudyError) as raised:
        build_backbone(SHAPE, ModelConfig(options={"channels": (4, 8), "weights": str(tmp_path / "a.pt")}))
    assert expected in str(raised.value)
    assert str(raised.value).startswith("`model.options.weights` must be a file with the weights of small_cnn, got")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("num_classes", [10, None])
def test_torchvisions_head_may_differ_or_be_absent(num_classes: int | None, tmp_path: Path) -> None:
    source = torchvision.models.squeezenet1_1(num_classes=num_classes or 1000)
    state = source.state_dict() if num_classes else {k: v for k, v in source.state_dict().items() if "classif" not in k}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "a.pt")
    config = ModelConfig(name="squeezenet1_1", options={"weights": str(tmp_path / "a.pt")})
    source.classifier[1] = nn.Identity()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(build_backbone((3, 32, 32), config).eval()(images), source.eval()(images))


def test_models_of_timm_load_with_their_head(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(source.state_dict(), tmp_path / "a.pt")
    config = ModelConfig(name="timm/test_resnet", options={"weights": str(tmp_path / "a.pt")})
    backbone = build_backbone((1, 64, 64), config).eval()
    images = torch.randn(2, 1, 64, 64)
    wanted = source.forward_head(source.forward_features(images.expand(-1, 3, -1, -1)), pre_logits=True)
    assert torch.equal(backbone(images), wanted)
    assert wanted.shape == (2, backbone.num_features)


def test_timms_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match=r"a model of timm.*got 'timm/resnet5O'; did you mean `timm/resnet50`"):
        ModelConfig(name="timm/resnet5O")
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(StudyError, match=r"timm must be installed .*pip install supercm-ray\[timm\]"):
        ModelConfig(name="timm/resnet50")


def test_published_weights_need_a_network_or_a_publisher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    with pytest.raises(StudyError, match="none are published"):
        build_backbone(SHAPE, ModelConfig(options={"weights": "default"}))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(StudyError, match=r"published weights of resnet18 .*got no network; download them"):
        build_backbone((3, 32, 32), ModelConfig(name="resnet18", options={"weights": "default"}))
