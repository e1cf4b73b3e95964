"""bf16 within the network and nowhere else, and what `auto` comes to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Start
from parity import TRAINED
from torch import Tensor, nn
from torch.testing import assert_close

from supercm_ray.algorithms import ALGORITHMS, consistency
from supercm_ray.config import Config
from supercm_ray.data import Dataset, draw_batch
from supercm_ray.errors import StudyError
from supercm_ray.models import Predictor, build_classifier
from supercm_ray.training import TrainState, deserialize, fit, serialize, train_step
from supercm_ray.training import speed as speed_module
from supercm_ray.training.speed import Speed, choose_speed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHAPE = (3, 32, 32)
PLAIN = Speed(bf16=False, compiled=False)


def steps(state: TrainState, data, number: int = 2) -> list[dict[str, Tensor]]:
    sizes = state.config.training.labeled_batch_size, state.config.training.unlabeled_batch_size
    indices = data.labeled[: sizes[0]], data.unlabeled[: sizes[1]]
    return [train_step(state, draw_batch(data, *indices, state.config, state.generator)) for _ in range(number)]


def convolved(model: nn.Module) -> list[torch.dtype]:
    """A list that gets the type of the numbers of every convolution's result."""
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    return seen


@pytest.mark.parametrize("algorithm", TRAINED)
def test_a_step_in_bf16_is_near_to_one_in_fp32_and_keeps_everything_else_in_fp32(start: Start, algorithm: str) -> None:
    options = ALGORITHMS.find(algorithm).options.model_fields
    settings: dict[str, Any] = {"algorithm.name": algorithm}
    wanted = {"threshold": 0.0, "epsilon": 0.5}
    settings |= {f"algorithm.options.{name}": value for name, value in wanted.items() if name in options}
    settings["data.target"] = {"name": "digits_odd_blurred"}  # which some algorithms ask for
    found = []
    for precision in ("fp32", "bf16"):
        state, data = start({**settings, "training.precision": precision, "model.options.channels": [16, 16]})
        inside = convolved(state.model)
        found.append(steps(state, data, 1)[0])
        assert (torch.bfloat16 in inside) == (precision == "bf16")
        kept = [state.model, state.ema_model, state.centroids, state.algorithm]
        values = [*nn.ModuleList(kept).parameters(), *nn.ModuleList(kept).buffers()]
        values += [parameter.grad for parameter in state.model.parameters()]
        assert {v.dtype for v in values + list(found[-1].values()) if v.is_floating_point()} == {torch.float32}
    assert found[0].keys() == found[1].keys()
    for name, term in found[0].items():
        assert_close(found[1][name], term, rtol=0.05, atol=0.01)


def test_the_direction_of_vat_is_searched_in_fp32(start: Start) -> None:
    state, data = start({"algorithm.name": "vat", "training.precision": "bf16"})
    inside = convolved(state.model)
    steps(state, data, 1)
    # centroids, own samples, the clean pass; the search's reference and the search; the perturbed pass
    wanted = (*[torch.bfloat16] * 3, *[torch.float32] * 2, torch.bfloat16)
    assert inside == [t for t in wanted for _ in range(2)]
    assert state.model.low_precision


def test_the_direction_of_vat_is_that_of_a_run_in_fp32(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the reference in bf16, its rounding would decide the direction."""
    found: list[torch.Tensor] = []
    search = consistency._steepest

    def keep(*given: Any) -> torch.Tensor:
        found.append(search(*given))
        return found[-1]

    monkeypatch.setattr(consistency, "_steepest", keep)
    for precision in ("fp32", "bf16"):
        state, data = start({"algorithm.name": "vat", "training.precision": precision})
        steps(state, data, 1)
    cosines = nn.functional.cosine_similarity(found[0].flatten(1), found[1].flatten(1))
    assert cosines.median() > 0.9


def test_evaluation_is_in_fp32_and_the_saved_model_is_plain(start: Start) -> None:
    state, _ = start({"training.precision": "bf16", "model.options.channels": [16, 16]})
    assert not state.ema_model.low_precision
    exported = torch.export.export(Predictor(state.ema_model), (torch.rand(4, 1, 8, 8),))
    assert "bfloat16" not in str(exported)


def wide_resnet(tiny: Callable[..., Config], digits: Dataset, **training: Any) -> tuple[Config, nn.Module]:
    named = {f"training.{name}": value for name, value in training.items()}
    indices = {"training.labeled_batch_size": 50, "training.unlabeled_batch_size": 50, "model.name": "wrn_28_2"}
    config = tiny({**indices, **named})
    images = Dataset("", digits.images[:1].repeat(3, axis=1), digits.labels[:1], digits.class_names, (0.0,), (1.0,))
    return config, build_classifier(config, images)


LONG, SHORT = {"num_epochs": 500, "steps_per_epoch": 1000}, {"num_epochs": 2, "steps_per_epoch": 30}


@pytest.mark.parametrize(
    ("length", "capabilities", "expected"),
    [
        (LONG, {"amx_tile": False}, Speed(bf16=False, compiled=True)),
        (LONG, {"amx_tile": True}, Speed(bf16=True, compiled=True)),
        (LONG, {}, Speed(bf16=False, compiled=True)),  # of another architecture
        (SHORT, {"amx_tile": False}, PLAIN),
        (SHORT, {"amx_tile": True}, Speed(bf16=True, compiled=False)),
    ],
)
def test_auto_on_a_cpu(tiny, digits, monkeypatch, length, capabilities: dict[str, bool], expected: Speed) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(speed_module, "_can_compile", lambda device: True)
    config, model = wide_resnet(tiny, digits, **length)
    assert choose_speed(config, model, SHAPE, CPU) == expected


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize(("length", "compiled"), [(LONG, True), (SHORT, False)])
def test_auto_on_a_gpu(tiny, digits, monkeypatch, length, bf16: bool, compiled: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(speed_module, "_can_compile", lambda device: True)
    config, model = wide_resnet(tiny, digits, **length)
    assert choose_speed(config, model, SHAPE, CUDA) == Speed(bf16=bf16, compiled=compiled)


def test_auto_leaves_small_networks_alone(start: Start, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": True})
    state, _ = start()
    assert choose_speed(state.config, state.model, (1, 8, 8), CPU) == PLAIN


def test_without_a_compiler_auto_does_without_and_asking_for_one_is_an_error(tiny, digits, monkeypatch) -> None:
    monkeypatch.setattr(speed_module, "cpp_compiler", lambda: None)
    config, model = wide_resnet(tiny, digits, **LONG)
    assert choose_speed(config, model, SHAPE, CPU) == PLAIN
    with pytest.raises(StudyError, match=r"`training.compile` must be .* without a C\+\+ compiler .* got `on`"):
        choose_speed(config.replace({"training.compile": "on"}), model, SHAPE, CPU)


def test_a_run_resumes_with_other_speed_settings(start: Start, digits: Dataset) -> None:
    """Weights and the optimizer's values keep their places, whichever order they have in memory."""
    settings = {"model.options.channels": [16, 16], "training.channels_last": False}
    state, data = start(settings)
    next(fit(state, data))
    saved = serialize(state)
    other = state.config.replace({"training.channels_last": True})
    resumed = deserialize(saved, "here", other, digits, CPU)
    steps(state, data)
    steps(resumed, data)
    assert any(p.is_contiguous(memory_format=torch.channels_last) for p in resumed.model.parameters() if p.ndim == 4)
    for name, value in state.model.state_dict().items():
        assert_close(resumed.model.state_dict()[name], value, rtol=1e-4, atol=2e-5)


def test_a_copied_network_keeps_its_precision(start: Start) -> None:
    state, _ = start({"training.precision": "bf16"})
    assert copy.deepcopy(state.model).low_precision
