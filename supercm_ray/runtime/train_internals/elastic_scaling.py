"""A scaling policy for a range of workers that counts on no dead node.

Relies on (Ray 2.56 to 2.60): `ElasticScalingPolicy._count_possible_workers`, called before workers are started, with
what the run may use: from 2.60 on by node id, in earlier versions a list without node ids.
Why: Ray counts on a node for up to 20 s after its death, and workers that can never start there cost a timeout and one
of the run's failures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ray
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy


class FreshElasticPolicy(ElasticScalingPolicy):
    """Counts on nodes that are alive."""

    def _count_possible_workers(self, resources: Any) -> int:
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        if isinstance(resources, dict):
            resources = {node: amounts for node, amounts in resources.items() if node in alive}
        return min(self._room_on(alive.values()), super()._count_possible_workers(resources))

    def _room_on(self, nodes: Iterable[dict[str, float]]) -> int:
        """Returns how many workers fit these nodes, if nothing else runs there."""
        needs = self.scaling_config.resources_per_worker
        return sum(min(int(node.get(name, 0.0) // need) for name, need in needs.items()) for node in nodes)
