"""The nodes of the cluster, as Ray knows them, and the line that says where a command runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import ray

from supercm_ray.execution.allotment import alone


@dataclass(frozen=True)
class Node:
    """A machine, or a container, on which Ray runs.

    Attributes:
        id: Ray's name for it, which a machine that comes back gets anew.
        name: its host name.
        address: its address in Ray's network.
        cpus: CPUs that Ray hands out there, whether or not they are in use.
        gpus: GPUs likewise.
        object_store_bytes: size of Ray's object store there.
    """

    id: str
    name: str
    address: str
    cpus: float
    gpus: float
    object_store_bytes: float = 0.0

    @property
    def resources(self) -> dict[str, float]:
        """What Ray hands out there, by Ray's names."""
        return {"CPU": self.cpus, "GPU": self.gpus}

    @property
    def amounts(self) -> str:
        """What Ray hands out there, such as `8 CPU, 1 GPU`."""
        return _amounts(self.cpus, self.gpus)

    def __str__(self) -> str:
        """Returns the name with what it has."""
        return f"{self.name} {self.amounts}"


def alive_nodes(left_out: Collection[str] = ()) -> list[Node]:
    """Returns the nodes that are alive, in the order of their names.

    Args:
        left_out: ids of nodes that are not to be used.
    """
    found = [
        Node(
            id=node["NodeID"],
            name=node["NodeManagerHostname"],
            address=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            object_store_bytes=node["Resources"].get("object_store_memory", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in left_out
    ]
    return sorted(found, key=lambda node: (node.name, node.address))


def is_this_machine_alone() -> bool:
    """Returns whether Ray was started by this command and listens on loopback alone."""
    return all(node.address.startswith("127.") for node in alive_nodes())


def gcs_address() -> str:
    """Returns the address of the cluster's head."""
    address: str = ray.get_runtime_context().gcs_address
    return address


def where(left_out: Collection[str] = ()) -> str:
    """Returns the line that says where a command runs.

    Args:
        left_out: ids of nodes that are not used.
    """
    nodes = alive_nodes(left_out)
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if is_this_machine_alone():
        return alone("this machine", cpus) + _of_gpus(gpus)
    version = ".".join(ray.__version__.split(".")[:2])
    head = gcs_address().rpartition(":")[0]
    count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
    return f"Ray {version} at {head}: {count}, {_amounts(cpus, gpus)}"


def _amounts(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + _of_gpus(gpus)


def _of_gpus(gpus: float) -> str:
    return f", {gpus:g} GPU" if gpus else ""
