"""A controller that pauses while it waits for resources.

Relies on (Ray 2.56 to 2.60): `TrainController._step`, a coroutine whose result has `previous_state` and `next_state`;
they are the same object exactly if the scaling policy decided to wait.
Why: Ray asks again without a pause and without giving way, so the controller takes a whole core and answers no call.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray.train.v2._internal.execution.controller import TrainController

_PAUSE_S = 0.5


class PausingController(TrainController):
    """Asks for resources twice a second."""

    async def _step(self) -> Any:
        result = await super()._step()
        if result.next_state is result.previous_state:
            await asyncio.sleep(_PAUSE_S)
        return result
