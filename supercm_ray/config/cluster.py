"""What a command asks of the cluster that it runs on, besides a study's own budget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterOptions:
    """What a command asks of its cluster.

    Attributes:
        strict: whether a node that the preflight finds unfit is refused, where it would be left out.
        ship_code: whether this package is sent to the nodes, for clusters on which it is not installed; plug-ins that
            lie in the working directory always are.
        min_nodes: number of nodes with CPUs that are waited for, from 0.
        wait_s: seconds to wait for these nodes and for room for one run, from 0.
    """

    strict: bool = False
    ship_code: bool = False
    min_nodes: int = 0
    wait_s: float = 0.0
