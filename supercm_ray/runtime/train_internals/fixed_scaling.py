"""A scaling policy for a fixed number of workers that asks for resources by its placement group alone.

Relies on (Ray 2.56 to 2.60): `FixedScalingPolicy` and its hooks `after_controller_start`,
`_maybe_send_resource_request`, `before_controller_shutdown`, a coroutine, and `before_controller_abort`.
Why: Ray also keeps a coordinator process for requests to autoscalers, which see the pending placement group anyway; no
setting leaves it out, and its start delays the first run of a cluster.
"""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class PlainScalingPolicy(FixedScalingPolicy):
    """Sends no requests to the coordinator."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """No-op."""

    def _maybe_send_resource_request(self) -> None:
        """No-op."""

    async def before_controller_shutdown(self) -> None:
        """No-op."""

    def before_controller_abort(self) -> None:
        """No-op."""
