"""The actor that carries messages from the workers of one run to the process that consumes them.

It is sent to Ray's process by value, so that this process starts without importing the package.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any, TypeAlias

from ray.actor import ActorHandle

Item: TypeAlias = tuple[str, Any]
"""An item of the channel: its kind and its content."""

NO_EPOCH = -1
"""The last epoch of a run that has reported none."""

_NICENESS = 10


def yield_cores_to_workers() -> None:
    """Lowers the priority of this process, which only carries messages, so that workers get its core."""
    for thread in (os.getpid(), threading.get_native_id()):  # Ray handles signals in the main thread
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


class Channel:
    """Keeps what the workers report, in order, until the consumer takes it, and the run's last epoch.

    Payloads are bytes that only the consumer deserializes.
    """

    def __init__(self) -> None:
        yield_cores_to_workers()
        self._items: list[Item] = []
        self._arrived = asyncio.Event()
        self._workers: dict[int, ActorHandle] = {}
        self._ended: set[int] = set()
        self._epoch, self._hopeless = NO_EPOCH, False

    def _add(self, kind: str, payload: object) -> None:
        self._items.append((kind, payload))
        self._arrived.set()

    async def begin(self, rank: int, num_workers: int, worker: ActorHandle) -> None:
        """Notes that a worker begins its loop, for the first time or again."""
        self._workers[rank] = worker
        self._ended.discard(rank)
        if rank == 0:
            self._add("begin", num_workers)

    async def put(self, epoch: int, payload: bytes) -> None:
        """Adds a message of the loop."""
        self._epoch = max(self._epoch, epoch)
        self._add("message", payload)

    async def end(self, rank: int, num_workers: int) -> None:
        """Notes that the loop of a worker has ended. The run ends when all loops have."""
        self._ended.add(rank)
        if self._ended >= set(range(num_workers)):  # a worker of an earlier, larger group may have ended too
            self._add("end", None)

    async def fail(self, rank: int, text: str, error: bytes | None) -> None:
        """Notes that the loop of a worker raised: its traceback, and the error itself if a new attempt is useless."""
        self._hopeless = self._hopeless or error is not None
        self._add("failure", (rank, text, error))

    async def progress(self) -> tuple[int, bool, dict[int, ActorHandle]]:
        """Returns the last epoch, whether a new attempt is useless, and the workers that have begun, by rank."""
        return self._epoch, self._hopeless, self._workers

    async def down(self, again: bool, failures: int, is_lost: bool, death: str, text: str) -> None:
        """Notes that the workers are stopped after a failure.

        Args:
            again: whether they are started again.
            failures: failures in a row without a new epoch.
            is_lost: whether the infrastructure took the workers.
            death: how the process of a worker died, or empty.
            text: Ray's account of the failure.
        """
        self._ended.clear()
        self._workers.clear()
        self._add("down", (again, failures, is_lost, death, text))

    async def take(self) -> list[Item]:
        """Returns all items that have not been taken; waits for one if there are none."""
        await self._arrived.wait()
        items, self._items = self._items, []
        self._arrived.clear()
        return items

    async def last(self) -> None:
        """Never returns: a caller that waits for it learns from the error that the channel has died."""
        await asyncio.Event().wait()
