"""A controller that ends with its channel.

Relies on (Ray 2.56 to 2.60): `TrainController.run` and `.abort`, both coroutines, `.get_result`, which `WorkerGroupRun`
calls, and `.worker_group_cls`, which is used to start workers.
Why: a public trainer's `fit` gives no handle by which a run can be stopped, and a placement group outlives both its
controller and its consumer.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from supercm_ray.runtime.channel import yield_cores_to_workers
from supercm_ray.runtime.train_internals.sync_actor import LeanWorkerGroup
from supercm_ray.runtime.train_internals.waiting import PausingController


class Controller(PausingController):
    """Stops the workers, frees their resources and exits when the channel dies."""

    worker_group_cls = LeanWorkerGroup

    def __init__(self, *, channel: ActorHandle, **kwargs: Any) -> None:
        yield_cores_to_workers()
        self._channel = channel
        super().__init__(**kwargs)

    async def run(self) -> None:
        """Runs to the end, and watches the channel during the run and after it."""
        self._watch = asyncio.ensure_future(self._end_with_channel())
        await super().run()

    async def _end_with_channel(self) -> None:
        try:
            await self._channel.last.remote()
        except RayActorError:
            try:
                await self.abort()
            finally:
                os._exit(0)
