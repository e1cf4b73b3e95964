"""A worker group without the process that synchronizes `ray.train.report`.

Relies on (Ray 2.56 to 2.60): `WorkerGroup._init_train_context`, called with the workers and the actor.
Why: loops here report over the channel and never call `ray.train.report`; the idle actor takes 190 MB and half a
percent of a core from the workers, and no setting leaves it out.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle

from supercm_ray.runtime.train_internals.placement import NamedWorkerGroup


class LeanWorkerGroup(NamedWorkerGroup):
    """Kills the synchronization actor as soon as the workers have its handle."""

    def _init_train_context(self, workers: list[Any], sync_actor: ActorHandle) -> None:
        super()._init_train_context(workers, sync_actor)
        ray.kill(sync_actor)
