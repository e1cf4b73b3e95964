"""Loops for groups of workers: what they have done lies in a folder. Workers import this, so it imports little."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from supercm_ray.errors import DivergedError


class Toy(dict[str, Any]):
    """A message that holds whatever a test wants to see again."""

    @property
    def order(self) -> int:
        return int(self["epoch"])


def count(given: dict[str, Any]) -> Iterator[Toy]:
    """Counts epochs, goes on from its checkpoint, and yields what was before it again.

    `given` has `folder` and `epochs`, and may have `sleep_s`, `data`, and what is to go wrong: `how`, from epoch `at`
    on, on `rank`.
    """
    folder, rank = Path(given["folder"]), distributed.get_rank()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.json"
    done = json.loads(checkpoint.read_text())["epoch"] if checkpoint.exists() else 0
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    with (folder / "begun").open("a") as begun:
        begun.write(f"{rank} of {distributed.get_world_size()} from {done}\n")
    yield from (Toy(epoch=epoch, workers=0) for epoch in range(1, done + 1))
    for epoch in range(done + 1, given["epochs"] + 1):
        time.sleep(given.get("sleep_s", 0.02))
        if epoch >= given.get("at", epoch + 1) and rank == given.get("rank", 1):
            fail(given["how"])
        ones = torch.ones(1)
        distributed.all_reduce(ones)
        if rank == 0:
            partial = folder / "checkpoint.partial"
            partial.write_text(json.dumps({"epoch": epoch}))
            partial.replace(checkpoint)
        yield Toy(epoch=epoch, workers=int(ones), sum=float(np.sum(given.get("data", 0))))
    yield Toy(epoch=given["epochs"] + 1, array=np.arange(200_000))


def fail(how: str) -> None:
    """Fails in one of several ways."""
    if how == "diverge":
        raise DivergedError("the loss is nan in epoch 3")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("the toy broke")
