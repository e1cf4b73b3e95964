"""Comparing runs bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from supercm_ray.training import TrainState


def differences(one: TrainState, other: TrainState) -> list[str]:
    """The paths at which two states are not the same to the last bit, the time that epochs took left out."""
    first, second = _flat(one.state_dict()), _flat(other.state_dict())
    return [path for path in {**first, **second} if not _same(first.get(path), second.get(path))]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        pairs = list(tree.items())
    elif isinstance(tree, list | tuple):
        pairs = list(enumerate(tree))
    else:
        return {prefix: tree}
    return {
        path: value
        for key, branch in pairs
        if key != "epoch_seconds"
        for path, value in _flat(branch, f"{prefix}/{key}").items()
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other
