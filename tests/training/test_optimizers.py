"""Optimizers: their groups of parameters, clipping, and what they remember; against torch's own where there is one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from comparing import differences
from torch import Tensor, nn
from torch.testing import assert_close

from supercm_ray.config import load_study
from supercm_ray.data import Dataset, draw_batch
from supercm_ray.errors import CheckpointError, StudyError
from supercm_ray.models import BACKBONES
from supercm_ray.models.backbones import SmallCNN
from supercm_ray.training import OPTIMIZERS, TrainState, deserialize, fit, serialize, train_step

SGD = {"training.optimizer.name": "sgd", "training.optimizer.options.momentum": 0.9}
BOTTLENECK = {"model.bottleneck": 6, "algorithm.centroid_mode": "learned"}


def step(state: TrainState, data, number: int = 0) -> dict[str, Tensor]:
    batch = draw_batch(data, data.labeled[:12], data.unlabeled[:12], state.config, state.generator)
    return train_step(state, batch)


OURS_AND_TORCHS = {
    "adamw": ({"training.optimizer.name": "adamw"}, torch.optim.AdamW, {}),
    "adam": ({"training.optimizer.name": "adam"}, torch.optim.Adam, {}),
    "sgd": ({"training.optimizer.name": "sgd"}, torch.optim.SGD, {}),
    "momentum": (SGD, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (
        {**SGD, "training.optimizer.options.nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
}


@pytest.mark.parametrize("case", OURS_AND_TORCHS)
def test_each_optimizer_is_torch_s(start, case: str) -> None:
    settings, theirs, options = OURS_AND_TORCHS[case]
    state, data = start({**settings, "training.weight_decay": 0.02, "training.learning_rate": 0.05})
    parameters = [parameter.detach().clone() for parameter in state.model.parameters()]
    optimizer = theirs(parameters, lr=0.05, weight_decay=0.02, **options)
    for _ in range(4):
        step(state, data)
        for parameter, ours in zip(parameters, state.model.parameters(), strict=True):
            parameter.grad = ours.grad.clone()
        optimizer.step()
    assert_close(list(state.model.parameters()), parameters, rtol=1e-4, atol=1e-6)


def test_groups_have_their_own_rates_and_decays(start) -> None:
    state, data = start(
        {
            **BOTTLENECK,
            "algorithm.name": "dann",
            "data.target": {"name": "digits_odd_blurred"},
            "training.backbone_learning_rate_factor": 0.1,
            "training.weight_decay": 0.02,
            "training.decay_norms_and_biases": False,
            "training.learning_rate": 0.05,
            "training.schedule.name": "cosine",
        }
    )
    parts = {"model": state.model, "algorithm": state.algorithm, "centroids": state.centroids}
    names = {id(p): f"{part}.{name}" for part, module in parts.items() for name, p in module.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in state.optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(found) == len(names)
    for name, (rate, decay) in found.items():
        assert rate == pytest.approx(0.005 if name.startswith("model.backbone.backbone.") else 0.05), name
        is_weight = name.endswith("weight") and "layers.1." not in name and "layers.5." not in name
        assert decay == (0.02 if is_weight or name == "centroids.value" else 0.0), name
    for _ in range(5):
        step(state, data)
    ratios = {group["lr"] / group["initial_lr"] for group in state.optimizer.param_groups}
    assert len(ratios) == 1
    assert ratios.pop() < 0.9


def test_numbers_of_parameters_do_not_depend_on_rates_and_decays(start) -> None:
    """So that `train --continue` may change these."""
    changed = {
        "training.backbone_learning_rate_factor": 0.1,
        "training.weight_decay": 0.02,
        "training.decay_norms_and_biases": False,
    }
    shapes = []
    for settings in (BOTTLENECK, {**BOTTLENECK, **changed}):
        state, _ = start(settings)
        names = {id(parameter): name for name, parameter in state.step_loss.named_parameters()}
        shapes.append([names[id(p)] for group in state.optimizer.param_groups for p in group["params"]])
    assert shapes[0] == shapes[1]


def test_the_gradient_is_clipped_by_the_norm_of_all_parameters(start) -> None:
    free, data = start({"training.optimizer.name": "sgd"})
    clipped, _ = start({"training.optimizer.name": "sgd", "training.clip_grad_norm": 0.5})
    before = copy.deepcopy(list(free.model.parameters()))
    step(free, data)
    step(clipped, data)
    length = torch.stack([p.grad.square().sum() for p in free.model.parameters()]).sum().sqrt()
    assert length > 0.5
    for start_, one, other in zip(before, free.model.parameters(), clipped.model.parameters(), strict=True):
        assert_close(other - start_, (one - start_) * 0.5 / length, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["supervised", "fixmatch", "vat", "mean_teacher"])
def test_a_frozen_backbone_keeps_weights_and_statistics(start, algorithm: str) -> None:
    state, data = start({"model.frozen": True, "algorithm.name": algorithm, "model.bottleneck": 6})
    before = copy.deepcopy(state.model.state_dict())
    list(islice(fit(state, data), 2))
    after = state.model.state_dict()
    for name, value in after.items():
        is_frozen = name.startswith(("backbone.backbone.", "mean", "std", "clustering.temperature"))
        assert torch.equal(value, before[name]) == is_frozen, name
    assert not any(parameter.requires_grad for parameter in state.model.trunk.parameters())
    assert not any(module.training for module in state.model.trunk.modules())
    for name, value in state.ema_model.state_dict().items():
        assert torch.equal(value, before[name]) or not name.startswith("backbone.backbone."), name


RESUMED: list[dict[str, Any]] = [
    {
        **SGD,
        "training.optimizer.options.nesterov": True,
        "training.schedule.name": "cosine",
        "training.warmup_steps": 4,
    },
    {"training.optimizer.name": "sgd", "training.schedule.name": "step", "training.schedule.options.drop_at": 0.4},
    {"training.optimizer.name": "adam", "training.schedule.name": "dann", "training.clip_grad_norm": 0.3},
    {"model.frozen": True, "algorithm.name": "mean_teacher", "training.ema_warmup": False},
    {"training.backbone_learning_rate_factor": 0.1, "data.strong.name": "randaugment", "algorithm.name": "fixmatch"},
]


@pytest.mark.parametrize("settings", RESUMED, ids=lambda settings: "-".join(map(str, settings.values())))
def test_resumed_equals_uninterrupted(start, digits: Dataset, settings: dict[str, Any]) -> None:
    settings = {**settings, "data.crop_scale": 0.5, "training.weight_decay": 0.01, "model.bottleneck": 6}
    whole, data = start(settings)
    list(fit(whole, data))
    half, _ = start(settings)
    list(islice(fit(half, data), 1))
    resumed = deserialize(serialize(half), "here", half.config, digits, torch.device("cpu"))
    list(fit(resumed, data))
    assert differences(resumed, whole) == []


@pytest.fixture
def adagrad() -> Iterator[None]:
    """An optimizer of a plug-in, which remembers something before its first step."""
    OPTIMIZERS.register("adagrad")(lambda groups, options: torch.optim.Adagrad(groups))
    yield
    OPTIMIZERS.remove("adagrad")


@pytest.mark.parametrize("cut", [0, 1])
def test_a_plug_in_s_optimizer_resumes_too(start, digits: Dataset, adagrad: None, cut: int) -> None:
    whole, data = start({"training.optimizer.name": "adagrad"})
    half, _ = start({"training.optimizer.name": "adagrad"})
    list(fit(whole, data))
    list(islice(fit(half, data), cut))
    resumed = deserialize(serialize(half), "here", half.config, digits, torch.device("cpu"))
    list(fit(resumed, data))
    assert differences(resumed, whole) == []


class WithUnusedHead(SmallCNN):
    """A network as people have it: its own head is still there."""

    def __init__(self, shape: tuple[int, int, int], options: object) -> None:
        super().__init__(shape, (4, 8))
        self.fc = nn.Linear(8, 10)


@pytest.mark.parametrize("optimizer", [SGD, {}])
def test_a_network_with_unused_parameters_resumes(start, digits: Dataset, optimizer: dict[str, Any]) -> None:
    BACKBONES.add("with_unused_head", WithUnusedHead)
    try:
        settings = {"model.name": "with_unused_head", **optimizer}
        whole, data = start(settings)
        half, _ = start(settings)
        list(fit(whole, data))
        list(islice(fit(half, data), 1))
        resumed = deserialize(serialize(half), "here", half.config, digits, torch.device("cpu"))
        list(fit(resumed, data))
        assert differences(resumed, whole) == []
    finally:
        BACKBONES.remove("with_unused_head")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {},
        lambda state: {**state, 0: {}},
        lambda state: {**state, 0: {"momentum_buffer": torch.zeros(1)}},
        lambda state: {**state, 0: {"momentum_buffer": torch.zeros_like(state[0]["momentum_buffer"]).long()}},
        lambda state: {**state, 0: {"exp_avg": state[0]["momentum_buffer"]}},
        lambda state: {**state, 0: {"momentum_buffer": None}},
        lambda state: {**state, 0: {"momentum_buffer": 3.0}},
        lambda state: {**state, 0: [state[0]["momentum_buffer"]]},
        lambda state: {**state, 99: state[0]},
        lambda state: {**state, "x": state[0]},
        lambda state: None,
    ],
)
def test_moments_that_momentum_does_not_leave_are_refused(start, digits: Dataset, change) -> None:
    state, data = start({**SGD, "training.num_epochs": 1})
    list(fit(state, data))
    saved = state.state_dict()
    saved["optimizer"]["state"] = change(saved["optimizer"]["state"])
    state.state_dict = lambda: saved  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match="move it away") as caught:
        deserialize(serialize(state), "here", state.config, digits, torch.device("cpu"))
    assert "\n" not in str(caught.value)


REFUSED = {
    "momentum of adam": ("{optimizer: {name: adam, options: {momentum: 0.9}}}", r"optimizer\.options\.momentum"),
    "nesterov alone": ("{optimizer: {name: sgd, options: {nesterov: true}}}", "momentum > 0.* set momentum"),
    "unknown optimizer": ("{optimizer: {name: adamm}}", "a known optimizer.*did you mean `adam"),
    "unknown schedule": ("{schedule: {name: cosin}}", "a known schedule.*did you mean `cosine`"),
    "drop of a cosine": ("{schedule: {name: cosine, options: {drop_at: 0.5}}}", r"schedule\.options\.drop_at"),
    "too long a rise": ("{warmup_steps: 600}", "warmup_steps < num_epochs.* lower it"),
    "former key": ("{learning_rate_drop_at: 0.8}", r"unknown key `base\.training\.learning_rate_drop_at`"),
}


@pytest.mark.parametrize(("training", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_one_clear_line(write, training: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load_study(write(f"base: {{data: {{label_ratio: 0.1}}, training: {training}}}\n"))
    assert "\n" not in str(caught.value)


def test_a_frozen_backbone_has_no_learning_rate_of_its_own(write) -> None:
    text = "base: {data: {label_ratio: 0.1}, training: {backbone_learning_rate_factor: 0.1}, model: {frozen: true}}\n"
    with pytest.raises(StudyError, match=r"base\.training\.backbone_learning_rate_factor .*set model\.frozen=false"):
        load_study(write(text))


def test_rates_and_options_are_searched_like_other_leaves(write) -> None:
    training = "{optimizer: {name: sgd, options: {momentum: 0.9}}, schedule: {name: dann}}"
    space = """space:
  training.optimizer.options.momentum: {type: float, low: 0.5, high: 0.99}
  training.schedule.options.alpha: {type: float, low: 1, high: 20}
  training.clip_grad_norm: {type: float, low: 0.1, high: 10}
  training.warmup_steps: {type: int, low: 0, high: 100}
  training.backbone_learning_rate_factor: {type: float, low: 0.01, high: 1}
  data.crop_scale: {type: float, low: 0.08, high: 1}
  data.strong.options.strength: {type: float, low: 0, high: 1}
"""
    study = load_study(write(f"base: {{data: {{label_ratio: 0.1}}, training: {training}}}\n{space}"))
    assert len(study.space) == 7
