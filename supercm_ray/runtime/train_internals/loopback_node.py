"""Starting Ray on 127.0.0.1.

Relies on (Ray 2.56 to 2.60): `ray._private.ray_constants.ENABLE_RAY_CLUSTER`, read when a node is started.
Why: if this is false, as on macOS, Ray takes 127.0.0.1 for the node and listens there alone. No public way does that in
a process that has imported Ray: with a node address of 127.0.0.2 Ray listens on every interface too (tried with 2.56.1
and 2.60.0), one of 127.0.0.1 is replaced by that of the network (read in the source), and the variable behind the name,
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, is read when Ray is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray._private import ray_constants


@contextmanager
def loopback_node() -> Iterator[None]:
    """Has a cluster that is started within the block listen on loopback alone."""
    former = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = former
