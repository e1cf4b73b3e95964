"""Weights of a backbone from a local file, or as published by the library that the backbone comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from supercm_ray.config import OptionsModel
from supercm_ray.errors import StudyError

PUBLISHED = "default"
"""The value of `weights` that stands for published weights."""
_HEADS = ("fc.", "classifier.", "head.", "heads.", "linear.", "last_linear.", "logits.", "output.")
"""What names of the weights of a head begin with in networks that do not name their head."""
_DEPTH = 4

Weights = dict[str, Tensor]


class WeightsOptions(OptionsModel):
    """Options of a backbone that can start from weights in a file."""

    weights: str | None = None
    """Path of a local file (torch or safetensors) with the network's weights, those of a head left out; or `default`
    for the weights that torchvision or timm publishes, which needs a network. Pixels are then standardised as these
    libraries publish for the model. None: random weights."""


def load_weights(backbone: nn.Module, weights: str, name: str, *, key: str = "model.options.weights") -> None:
    """Loads weights into a backbone.

    In a file, a state dict may be nested in others, and its names may have a prefix, such as `module.`: of all state
    dicts and prefixes those are taken whose names fit the backbone best, an exponential moving average before others.

    Args:
        backbone: a backbone with random weights. Its attribute `head_prefixes`, if there is one, are the first parts of
            the names of weights that it leaves out.
        weights: the path of a file, or `default`.
        name: the registered name of the backbone, for messages.
        key: the key or option that gives `weights`, for messages.

    Raises:
        StudyError: for a file that cannot be read or does not fit.
    """
    saved = _published(backbone, name, key) if weights == PUBLISHED else _read(Path(weights).expanduser(), name, key)
    wanted = backbone.state_dict()
    own = _common(list(wanted))
    plain = {path.removeprefix(own): value for path, value in wanted.items()}
    found = _best_fit(saved, set(plain))
    _check_fits(
        found,
        plain,
        getattr(backbone, "head_prefixes", _HEADS),
        f"`{key}` must be a file with the weights of {name}, got {weights!r}",
    )
    backbone.load_state_dict({own + part: found.get(part, value) for part, value in plain.items()})


def _published(backbone: nn.Module, name: str, key: str) -> object:
    if not hasattr(backbone, "published_weights"):
        raise StudyError(f"`{key}` must be a file for {name}, got {PUBLISHED!r}, but none are published; name a file")
    try:
        return backbone.published_weights()  # type: ignore[operator]
    except Exception as error:  # each library and file system has exceptions of its own
        raise StudyError(
            f"the published weights of {name} must be found in this machine's cache or downloaded, got "
            f"{_first_line(error)}; download them where there is a network, and set {key} to the file"
        ) from error


def _read(path: Path, name: str, key: str) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # for such files alone

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files let out errors of torch, zipfile, pickle and the system alike
        remedy = "save it anew with torch.save(model.state_dict(), ...)" if path.exists() else "correct the path"
        remedy = "install that package" if isinstance(error, ImportError) else remedy
        raise StudyError(
            f"`{key}` must be a file with the weights of {name}, got {str(path)!r}: {_first_line(error)}; {remedy}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _common(keys: Sequence[str]) -> str:
    """Returns the dotted prefix that all keys share, `layers.` of `layers.0.weight` and `layers.1.bias`."""
    levels = zip(*(key.split(".")[:-1] for key in keys), strict=False)
    return "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _best_fit(saved: object, wanted: set[str]) -> Weights:
    """Returns the state dict within `saved`, its prefix removed, that has most of the wanted names."""
    best: Weights = {}
    most = (-1, False)
    for place, state in _state_dicts(saved):
        for prefix in _prefixes(state):
            stripped = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            fit = (len(wanted & stripped.keys()), "ema" in place)
            if fit > most:
                best, most = stripped, fit
    return best


def _state_dicts(saved: object, place: str = "") -> Iterator[tuple[str, Weights]]:
    """Yields each mapping that holds tensors, with its place in the file."""
    if not isinstance(saved, Mapping):
        return
    tensors = {str(key): value for key, value in saved.items() if isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for key, value in saved.items():
        yield from _state_dicts(value, f"{place}.{key}")


def _prefixes(keys: Mapping[str, Tensor]) -> list[str]:
    """Returns the dotted prefixes of the keys, the shortest first."""
    parts = [key.split(".")[:-1][:_DEPTH] for key in keys]
    found = {"".join(f"{part}." for part in one[:depth]): depth for one in parts for depth in range(len(one) + 1)}
    return sorted({"": 0, **found}, key=lambda prefix: prefix.count("."))


def _check_fits(found: Weights, wanted: Mapping[str, Tensor], heads: tuple[str, ...], what: str) -> None:
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    unknown = [key for key in found if key not in wanted and not key.startswith(heads)]
    other = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(wanted)} weights are missing, first {missing[0]}")
    if unknown:
        faults.append(f"{len(unknown)} are unknown, first {unknown[0]}")
    if other:
        there, here = (tuple(one[other[0]].shape) for one in (found, wanted))
        faults.append(f"{len(other)} have another shape, first {other[0]} with {there} in the file and {here} here")
    if faults:
        raise StudyError(f"{what}: {'; '.join(faults)}; take a file of the same network")
