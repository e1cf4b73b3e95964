"""The nodes that Ray has been told will be taken away, as before a pre-emption.

Relies on (Ray 2.56 to 2.60): `ray._private.state.state.get_draining_nodes`, with ids of nodes as keys.
Why: `ray.nodes()` does not say it; `ray.train.get_preemption_info` does, to workers of Ray Train alone, and the State
API needs the dashboard.
"""

from __future__ import annotations

from ray._private import state


def draining_nodes() -> frozenset[str]:
    """Returns the ids of the nodes that are being drained."""
    return frozenset(state.state.get_draining_nodes())
