"""How a run's network is computed: what `auto` means for this run on this device, and putting it into place."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
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
from supercm_ray.models import Classifier, Outputs, cpp_compiler, use_winograd

_LARGE_NETWORK = 1e8  # FLOP for one image
_LONG_RUN = 1e14  # FLOP; compiling costs about a minute
_LONG_RUN_STEPS = 5_000  # on a GPU, where a step of any network takes milliseconds


@dataclass(frozen=True)
class Speed:
    """Decisions: bf16 in the network, compiled training passes, Winograd's convolutions."""

    bf16: bool
    compiled: bool
    winograd: bool


def choose_speed(config: Config, model: nn.Module, image_shape: tuple[int, ...], device: torch.device) -> Speed:
    """What `training.precision`, `.compile` and `.convolution` come to. It depends on the configuration, the network,
    the device and whether there is a C++ compiler, on nothing measured, so the same run is computed the same way again.

    Raises:
        StudyError: where something is asked for that needs a compiler, and there is none.
    """
    training = config.training
    work = _flop(model, image_shape)
    num_steps = training.num_epochs * training.steps_per_epoch
    indices = training.labeled_batch_size + training.unlabeled_batch_size
    is_long = 3 * work * indices * num_steps >= _LONG_RUN
    pays = num_steps >= _LONG_RUN_STEPS if device.type == "cuda" else is_long

    bf16 = {"auto": work >= _LARGE_NETWORK and _native_bf16(device), "bf16": True, "fp32": False}[training.precision]
    apart = world_size() == 1 or not training.sync_batch_norm
    compiled = {"auto": pays and apart and _can_compile(device), "on": True, "off": False}[training.compile]
    fast_cpu = device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    winograd = {
        "auto": is_long and not bf16 and fast_cpu and cpp_compiler() is not None,
        "winograd": True,
        "direct": False,
    }[training.convolution]
    if compiled and not _can_compile(device):
        raise _no_compiler("training.compile", "on", "off")
    if winograd and cpp_compiler() is None:
        raise _no_compiler("training.convolution", "winograd", "direct")
    return Speed(bf16, compiled, winograd and device.type == "cpu")


def speed_up(model: Classifier, speed: Speed, *, or_fail: bool) -> None:
    """Puts bf16 and Winograd into place. Parameters and buffers stay the same objects under the same names.

    Raises:
        StudyError: where Winograd's kernels cannot be built; without `or_fail` convolutions stay as they are.
    """
    model.low_precision = speed.bf16
    if not speed.winograd:
        return
    try:
        use_winograd(model)
    except (OSError, subprocess.SubprocessError) as error:
        if not or_fail:
            return
        raise StudyError(
            f"`training.convolution` must be `direct` where the kernels cannot be built, got {error}; set it so"
        ) from error


def compiled_pass(model: Classifier) -> Callable[[Tensor], Outputs]:
    """The model's pass, compiled at its first call; with CUDA graphs on a GPU. The model itself stays as it is, so
    whatever else calls, copies, saves or exports it sees nothing of this.
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


def _flop(model: nn.Module, image_shape: tuple[int, ...]) -> float:
    """Of one image's way through the network, counted without computing."""
    shadow = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, *image_shape, device="meta"))
    return float(counter.get_total_flops())


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def _can_compile(device: torch.device) -> bool:
    """Whether torch.compile finds its compilers; generated CPU code includes Python's header."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None and cpp_compiler() is not None
    return cpp_compiler() is not None and Path(sysconfig.get_paths()["include"], "Python.h").exists()


def _no_compiler(path: str, value: str, other: str) -> StudyError:
    return StudyError(
        f"`{path}` must be `auto` or `{other}` without a C++ compiler and Python's headers, got `{value}`; "
        "install g++ and python3-dev, or leave it at `auto`"
    )
