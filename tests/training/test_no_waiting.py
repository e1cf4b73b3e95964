"""A step gives the device work and never waits for it: seen here on the CPU, in the operations it calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Start
from parity import TRAINED
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from supercm_ray.data import draw_batch
from supercm_ray.training import train_step

WAITING = {
    "aten::_local_scalar_dense": "item() and the like",
    "aten::is_nonzero": "a condition on a tensor",
    "aten::equal": "a comparison that gives a bool",
    "aten::nonzero": "a result whose size is in the data",
    "aten::masked_select": "the same",
    "aten::_unique2": "the same",
    "aten::bincount": "the same",
    "aten::repeat_interleave": "the same",
    "aten::lift_fresh": "a tensor made from numbers of the host",
}


class NeverWait(TorchDispatchMode):
    """Fails at an operation that would have a GPU's host wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        assert name not in WAITING, f"{name}: {WAITING[name]}"
        fills = (
            name == "aten::index_put_" and args[2].numel() == 1
        )  # a mask and one value: masked_fill, which waits not
        if name.startswith("aten::index") and not fills:
            indices = args[1] if isinstance(args[1], list | tuple) else []
            assert not [i for i in indices if i is not None and i.dtype in (torch.bool, torch.uint8)], f"{name} by mask"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("algorithm", TRAINED)
@pytest.mark.parametrize("mode", ["labeled", "pseudo_labeled", "learned"])
@pytest.mark.parametrize("source", ["eval_pass", "batch"])
def test_a_step_waits_for_nothing(start: Start, algorithm: str, mode: str, source: str) -> None:
    settings: dict[str, Any] = {
        "algorithm.name": algorithm,
        "algorithm.centroid_mode": mode,
        "algorithm.centroid_source": source,
    }
    settings["data.target"] = {"name": "digits_odd_blurred"}  # which some algorithms ask for
    augmented = {"data.flip": True, "data.noise_std": 0.1, "algorithm.consistency_warmup_steps": 5}
    state, data = start({**settings, **augmented, "training.precision": "bf16", "algorithm.balance_alpha": 1.1})
    for _ in range(2):
        with NeverWait():
            train_step(state, draw_batch(data, data.labeled[:12], data.unlabeled[:12], state.config, state.generator))


def test_no_recipe_waits_for_anything(start: Start) -> None:
    state, data = start(
        {
            "algorithm.name": "fixmatch",
            "data.crop_scale": 0.5,
            "data.shift_padding": "reflect",
            "data.strong.name": "randaugment",
            "data.strong.options.random_magnitude": True,
            "training.optimizer.name": "sgd",
            "training.optimizer.options.momentum": 0.9,
            "training.schedule.name": "cosine",
            "training.warmup_steps": 2,
            "training.clip_grad_norm": 1.0,
            "training.backbone_learning_rate_factor": 0.1,
        }
    )
    for _ in range(3):
        with NeverWait():
            train_step(state, draw_batch(data, data.labeled[:12], data.unlabeled[:12], state.config, state.generator))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: torch.tensor([1.0, 2.0]) + x,
    ],
)
def test_waiting_is_seen(wait: Any) -> None:
    values: Tensor = torch.ones(2)
    with NeverWait(), pytest.raises(AssertionError):
        wait(values)
