"""What a node finds out about itself. It is sent to nodes by value, so that one without this package answers too: only
the standard library is imported, and the rest where it is looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import pickle
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SHARED_MEMORY = "/dev/shm"  # noqa: S108 (where Ray's object store lies)
_SIOCGIFADDR = 0x8915
_CONTENT = bytes(1 << 16)  # a full disk takes an empty file
_GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")  # of NVIDIA, AMD, and Windows' subsystem
_OF_GPUS = (
    "import torch; from torch import distributed as d; "
    "print(torch.cuda.device_count(), 'NCCL', *(torch.cuda.nccl.version() if d.is_nccl_available() else ()))"
)


def look(question: str, images: bytes) -> str:
    """Returns what this process finds on its node, as JSON of `NodeFacts`.

    Args:
        question: JSON with the names of `plugins`; the place of checkpoints, `storage`, with the names of two `markers`
            in it, the driver's, which is there, and that of this node; and whether to ask for GPUs.
        images: pickled images of a few samples with their digests; empty if there is nothing to read.
    """
    began, asked = time.time(), json.loads(question)
    error, package = _attempt(_look_at_package)
    version, code, commit = package or ("", "", "")
    facts: dict[str, object] = {
        "host": socket.gethostname(),
        "clock": began,
        "python": platform.python_version(),
        "ray": sys.modules["ray"].__version__ if "ray" in sys.modules else "",
        "package_error": error,
        "version": version,
        "code": code,
        "commit": commit,
        "plugin_errors": {},
        "data_error": "",
        "storage_error": "",
        "sees_marker": False,
        "free": _free(asked["storage"]),
        "shared_memory": shutil.disk_usage(SHARED_MEMORY).total if Path(SHARED_MEMORY).exists() else 0,
        "resolves_to": _attempt(lambda: socket.gethostbyname(socket.gethostname()))[1] or "",
        "interfaces": dict(_interfaces()),
        "gpus": _look_at_gpus() if asked["gpus"] else "",
    }
    if not error:
        tried = {name: _attempt(importlib.import_module, name)[0] for name in asked["plugins"]}
        facts["plugin_errors"] = {name: reason for name, reason in tried.items() if reason}
        facts["data_error"] = _attempt(_look_at_images, images)[0] if images else ""
        if asked["storage"]:
            facts["storage_error"], seen = _attempt(_look_at_storage, asked["storage"], *asked["markers"])
            facts["sees_marker"] = bool(seen)
    return json.dumps(facts)


def _attempt(function: Callable[..., T], *given: object) -> tuple[str, T | None]:
    """Returns the reason why a function failed, in one line, or what it returns."""
    try:
        return "", function(*given)
    except BaseException as error:  # a module can raise anything while it is imported
        told = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = (str(told).strip().splitlines() or [""])[0]
        return f"{type(told).__name__}: {reason}" if reason else type(told).__name__, None


def _look_at_package() -> tuple[str, str, str]:
    """Imports this package, and what it needs to train, and returns its version, a digest of its files, and its
    commit.
    """
    from supercm_ray import training  # which imports torch, and all else that training needs

    folder = Path(training.__file__).parents[1]
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    version = _attempt(importlib.import_module("importlib.metadata").version, "supercm-ray")[1]
    return str(version or ""), digest.hexdigest(), _commit(folder)


def _commit(folder: Path) -> str:
    """Returns the commit that a folder is at, or nothing if it is not under git."""
    words = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    return ""


def _look_at_images(images: bytes) -> None:
    """Reads a few samples and compares their digests; raises if one is missing or another."""
    from supercm_ray.data.images import StreamedImages

    for few in pickle.loads(images):  # noqa: S301 (the driver has made it)
        for path, mine, theirs in zip(few.files, StreamedImages.digests(few), few.digests(), strict=True):
            if bytes(mine) != bytes(theirs):
                raise ValueError(f"{path} is another file here")


def _look_at_storage(place: str, marker: str, own: str) -> bool:
    """Writes a file where checkpoints go, and returns whether the driver's is there too; then the own one is left for
    the driver to see.
    """
    from supercm_ray.records import CheckpointStore

    store = CheckpointStore(place)
    try:
        store.write(_CONTENT, own)
        seen = store.read(marker) is not None
        if not seen:
            store.remove(own)
        return seen
    finally:
        store.close()


def _free(storage: str) -> dict[str, int]:
    """Returns the free bytes of the disks of checkpoints and of Ray's own files, by folder."""
    folders = [Path(tempfile.gettempdir()), *([Path(storage)] if storage and "://" not in storage else [])]
    found: dict[str, int] = {}
    for folder in folders:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        found[str(folder)] = shutil.disk_usage(there).free
    return found


def _interfaces() -> Iterator[tuple[str, str]]:
    """Yields the network interfaces with their IPv4 addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none
                packed = fcntl.ioctl(one.fileno(), _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
                yield name, socket.inet_ntoa(packed[20:24])


def _look_at_gpus() -> str:
    """Returns how many GPUs torch sees and the version of NCCL, such as `2 NCCL 2 27 3`, or why it is not known; in a
    process of its own, since Ray hides GPUs from this one.
    """
    if not any(any(Path("/dev").glob(device)) for device in _GPU_DEVICES):
        return "no GPU"
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", _OF_GPUS], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return ((done.stderr if done.returncode else done.stdout).strip().splitlines() or ["unknown"])[-1]
