"""A worker group whose placement group has a name.

Relies on (Ray 2.56 to 2.60): `WorkerGroup._create_placement_group`, called when workers are started, and
`._train_run_context.run_config.name`; `DefaultPlacementGroupHandle(placement_group)`; the fields `run_attempt_id`,
`num_workers`, `resources_per_worker`, `placement_strategy` and `label_selector` of `WorkerGroupContext`.
Why: Ray gives the placement group no name, and while it is pending only the controller knows it. A run that is closed
then must find it to remove it.
"""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.util.placement_group import placement_group


class NamedWorkerGroup(WorkerGroup):
    """Names its placement group `<name of the run>/<id of the attempt>`."""

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> DefaultPlacementGroupHandle:
        context = worker_group_context
        return DefaultPlacementGroupHandle(
            placement_group(
                bundles=[context.resources_per_worker] * context.num_workers,
                strategy=context.placement_strategy,
                bundle_label_selector=context.label_selector,
                name=f"{self._train_run_context.run_config.name}/{context.run_attempt_id}",
            )
        )
