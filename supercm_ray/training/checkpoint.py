"""Checkpoints of a run: serialized tensors and plain values, loaded without pickle and checked against the
configuration.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from supercm_ray.config import FREE_TO_CHANGE, Config, Leaf, flatten
from supercm_ray.data import Dataset
from supercm_ray.errors import CheckpointError
from supercm_ray.training.state import StateDict, TrainState

_FORMAT = 3


def serialize(state: TrainState) -> bytes:
    """Returns the state as the content of a checkpoint file: tensors and plain values."""
    content = io.BytesIO()
    torch.save({"format": _FORMAT, "config": _fingerprint(state.config), **state.state_dict()}, content)
    return content.getvalue()


def deserialize(
    content: bytes, place: str, config: Config, dataset: Dataset, device: torch.device, num_unlabeled: int = 0
) -> TrainState:
    """Restores a run from the content of its checkpoint. `place` is the checkpoint's path, for messages;
    `num_unlabeled` is that of `TrainState.create`.

    Raises:
        CheckpointError: for content that is truncated, holds anything but tensors and plain values, or belongs to
            another configuration.
    """
    saved = _checked(content, place, config)
    state = TrainState.create(config, dataset, device, num_unlabeled)
    with _fitting(place):
        state.load_state_dict(saved)
    return state


def deserialize_model(content: bytes, place: str) -> tuple[StateDict, StateDict]:
    """Returns the states of the network's moving average and of the centroids from the content of a checkpoint of any
    configuration.

    Raises:
        CheckpointError: for content that is truncated, or holds anything but tensors and plain values.
    """
    saved = _of_this_format(content, place)
    try:
        return dict(saved["ema_model"]), dict(saved["centroids"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place} is no checkpoint: it has no {error}; train the run again") from error


def with_config(content: bytes, place: str, config: Config) -> bytes:
    """Returns the content of a checkpoint as one of another configuration, whose runs can go on from it.

    Raises:
        CheckpointError: for content that is truncated, or holds anything but tensors and plain values.
    """
    changed = io.BytesIO()
    torch.save({**_of_this_format(content, place), "config": _fingerprint(config)}, changed)
    return changed.getvalue()


def _checked(content: bytes, place: str, config: Config) -> StateDict:
    saved = _of_this_format(content, place)
    differing = _differences(_leaves(saved.get("config")), config)
    if differing:
        raise CheckpointError(f"{place} belongs to another configuration ({differing}); move it away to start afresh")
    return saved


def _of_this_format(content: bytes, place: str) -> StateDict:
    saved = _read(content, place)
    if saved.get("format") != _FORMAT:
        raise CheckpointError(
            f"{place} is no checkpoint of this version (format {saved.get('format')!r}, not {_FORMAT}); "
            "move it away to start afresh"
        )
    return saved


@contextmanager
def _fitting(place: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file can hold anything anywhere
        raise CheckpointError(
            f"{place} does not fit the configured model: {_first_line(error)}; move it away to start afresh"
        ) from error


def _read(content: bytes, place: str) -> StateDict:
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler lets IndexError, TypeError and more out for a damaged file
        raise CheckpointError(
            f"cannot load the checkpoint {place}: {_first_line(error)}; move it away to start afresh"
        ) from error
    if not isinstance(saved, dict):
        raise CheckpointError(
            f"{place} is no checkpoint: it holds a {type(saved).__name__}; move it away to start afresh"
        )
    return saved


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _leaves(fingerprint: object) -> dict[str, Leaf]:
    try:
        leaves = json.loads(str(fingerprint))
    except (TypeError, ValueError):
        return {}
    return leaves if isinstance(leaves, dict) else {}


def _fingerprint(config: Config) -> str:
    leaves = {path: value for path, value in config.leaves().items() if path not in FREE_TO_CHANGE}
    return json.dumps(leaves, sort_keys=True)


def _differences(saved: dict[str, Leaf], config: Config) -> str:
    """Returns the leaves that differ. One that was unknown when the checkpoint was saved had its default value."""
    wanted: dict[str, Leaf] = json.loads(_fingerprint(config))
    given = dict(flatten(config.model_dump(mode="json", exclude_defaults=True)))
    defaults = {path: value for path, value in wanted.items() if path not in given} if saved else {}
    known = {**defaults, **saved}
    paths = sorted(path for path in {*known, *wanted} if known.get(path) != wanted.get(path))
    return ", ".join(f"{path}: {known.get(path)} there, {wanted.get(path)} here" for path in paths[:3])
