"""Precision and compilation of a run's network: what `auto` means for a run on a device, and the compiled pass."""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supercm_ray.config import Config
from supercm_ray.core import world_size
from supercm_ray.errors import StudyError
from supercm_ray.models import Classifier, Outputs

_LARGE_NETWORK = 1e8  # FLOP for one image
_LONG_RUN = 1e14  # FLOP; compiling costs about a minute
_LONG_RUN_STEPS = 5_000  # on a GPU, where a step of any network takes milliseconds


@dataclass(frozen=True)
class Speed:
    """Decisions about speed: bf16 in the network, and compiled training passes."""

    bf16: bool
    compiled: bool


def choose_speed(config: Config, model: nn.Module, image_shape: tuple[int, ...], device: torch.device) -> Speed:
    """Decides `training.precision` and `training.compile` by the configuration, the network, the device and whether
    there is a C++ compiler. Nothing is measured, so that the same run is always computed the same way.

    Raises:
        StudyError: if `training.compile` is `on` and there is no C++ compiler.
    """
    training = config.training
    work = _flop(model, image_shape)
    num_steps = training.num_epochs * training.steps_per_epoch
    is_long = 3 * work * config.batch_size * num_steps >= _LONG_RUN
    pays = num_steps >= _LONG_RUN_STEPS if device.type == "cuda" else is_long

    bf16 = {"auto": work >= _LARGE_NETWORK and _native_bf16(device), "bf16": True, "fp32": False}[training.precision]
    apart = world_size() == 1 or not training.sync_batch_norm
    compiled = {"auto": pays and apart and _can_compile(device), "on": True, "off": False}[training.compile]
    if compiled and not _can_compile(device):
        raise StudyError(
            "`training.compile` must be `auto` or `off` without a C++ compiler and Python's headers, got `on`; "
            "install g++ and python3-dev, or leave it at `auto`"
        )
    return Speed(bf16, compiled)


def compiled_pass(model: Classifier) -> Callable[[Tensor], Outputs]:
    """Compiles the model's forward pass at its first call, with CUDA graphs on a GPU. The model itself is unchanged for
    those who call, copy, save or export it.
    """
    if not next(model.parameters()).is_cuda:
        return torch.compile(model.forward, dynamic=False)
    replayed = torch.compile(model.forward, dynamic=False, mode="reduce-overhead")

    def call(images: Tensor) -> Outputs:
        # The outputs of the step before are not needed any more.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        outputs: Outputs = replayed(images)
        return outputs

    return call


def cpp_compiler() -> str | None:
    """Returns the path of a C++ compiler: the one named by CXX, or a usual one; None if there is none."""
    names = [*os.environ.get("CXX", "").split()[:1], "g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, names) if path), None)


def _flop(model: nn.Module, image_shape: tuple[int, ...]) -> float:
    """Counts the FLOP of a forward pass of one image, without computing it."""
    shadow = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, *image_shape, device="meta"))
    return float(counter.get_total_flops())


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_tile", False))


def _can_compile(device: torch.device) -> bool:
    """Returns whether torch.compile finds its compilers; generated CPU code includes Python's header."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None and cpp_compiler() is not None
    return cpp_compiler() is not None and Path(sysconfig.get_paths()["include"], "Python.h").exists()
