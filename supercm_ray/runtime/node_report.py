"""What is right and wrong with a node, judged by what it has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from supercm_ray.runtime.nodes import Node

FEWEST_FREE_BYTES, FEW_FREE_BYTES = 100 * 2**20, 2 * 2**30
LARGEST_SKEW_S = 2.0


@dataclass(frozen=True)
class NodeFacts:
    """What a node has found.

    Attributes:
        host: its name.
        clock: its time, in seconds since 1970.
        python: version of Python, likewise `ray` and, of this package, `version`.
        package_error: why this package cannot be imported there; empty if it can, as are all `..._error`.
        code: a digest of this package's files.
        commit: commit of this package; empty if it is not under git.
        plugin_errors: why plug-ins cannot be imported, by name.
        data_error: why images cannot be read there, or are others.
        storage_error: why checkpoints cannot be written there.
        sees_marker: whether the driver's file is seen where checkpoints are written.
        free: free bytes of its disks by folder.
        shared_memory: size of its shared memory in bytes.
        resolves_to: the address that its own name stands for.
        interfaces: addresses by network interface.
        gpus: number of GPUs that torch sees and the version of NCCL, such as `2 NCCL 2 27 3`, or why there are
            none; empty if it was not asked for.
    """

    host: str
    clock: float
    python: str
    ray: str
    package_error: str
    version: str
    code: str
    commit: str
    plugin_errors: dict[str, str]
    data_error: str
    storage_error: str
    sees_marker: bool
    free: dict[str, int]
    shared_memory: int
    resolves_to: str
    interfaces: dict[str, str]
    gpus: str

    @property
    def package(self) -> str:
        """Version, commit and digest of the package."""
        commit = f", commit {self.commit}" if self.commit else ""
        return f"supercm_ray {self.version} (code {self.code}{commit})"


@dataclass(frozen=True)
class NodeReport:
    """What is wrong with a node.

    Attributes:
        node: the node.
        facts: what it has found, or None if it does not answer.
        faults: why it cannot train the study; empty if it can.
        warnings: what else is to be known.
    """

    node: Node
    facts: NodeFacts | None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Asked:
    """What nodes were asked, as far as it is needed to judge what they answer.

    Attributes:
        facts: what the driver has found on its own node.
        began, ended: its clock when nodes were asked, and when the last one answered, in seconds since 1970.
        storage: where checkpoints are written; empty if that was not asked.
        come_back: whether the driver sees what the node wrote there.
        num_nodes: number of nodes asked.
    """

    facts: NodeFacts
    began: float
    ended: float
    storage: str
    come_back: bool
    num_nodes: int


def judge(node: Node, facts: NodeFacts, asked: Asked) -> NodeReport:
    """Returns the report on a node that has answered."""
    return NodeReport(node, facts, tuple(_faults(facts, asked)), tuple(_warnings(node, facts, asked)))


def _faults(facts: NodeFacts, asked: Asked) -> Iterator[str]:
    driver = asked.facts
    for name, mine, theirs in (
        ("Python", _minor(facts.python), _minor(driver.python)),
        ("Ray", facts.ray, driver.ray),
    ):
        if mine != theirs:
            yield f"{name} must be {theirs}, as here, got {mine}; install the same"
    if facts.package_error:
        yield (
            f"the package supercm_ray must be importable, got {facts.package_error}; install it there, or send it "
            "with --ship-code"
        )
        return
    if facts.code != driver.code:
        yield (
            f"the package must be {driver.package}, as here, got {facts.package}; install the same, or send this one "
            "with --ship-code"
        )
    for name, reason in facts.plugin_errors.items():
        yield f"the plug-in {name} must be importable, got {reason}; install it there, or what it imports"
    if facts.data_error:
        yield f"the data must be the same as here, got {facts.data_error}; copy them there, or share their folder"
    if facts.storage_error:
        yield f"checkpoints must be writable at {asked.storage}, got {facts.storage_error}; make room or access there"
    for folder, free in facts.free.items():
        if free < FEWEST_FREE_BYTES:
            yield f"{folder} must have {_mib(FEWEST_FREE_BYTES)} free, got {_mib(free)}; make room"


def _warnings(node: Node, facts: NodeFacts, asked: Asked) -> Iterator[str]:
    if asked.num_nodes > 1 and asked.storage and not facts.package_error and not facts.storage_error:
        yield from _about_sharing(facts, asked)
    for folder, free in facts.free.items():
        if FEWEST_FREE_BYTES <= free < FEW_FREE_BYTES:
            yield f"{folder} has {_mib(free)} free"
    if node.object_store_bytes > facts.shared_memory:
        yield (
            f"the object store takes {_mib(node.object_store_bytes)}, got {_mib(facts.shared_memory)} of shared "
            "memory, so that data lie on the disk; enlarge /dev/shm (--shm-size), or lower --object-store-memory"
        )
    skew = max(asked.began - facts.clock, facts.clock - asked.ended)
    if skew > LARGEST_SKEW_S:
        yield f"its clock is {skew:.0f} s or more off that of {asked.facts.host}; set both by NTP"
    if node.address not in facts.interfaces.values() and not node.address.startswith("127."):
        yield (
            f"no network interface has the address {node.address} that Ray uses, so that workers of one run may not "
            "find each other; start Ray with --node-ip-address set to one of " + ", ".join(facts.interfaces.values())
        )
    if node.gpus and facts.gpus:
        yield from _about_gpus(node, facts.gpus)


def _about_sharing(facts: NodeFacts, asked: Asked) -> Iterator[str]:
    if not facts.sees_marker:
        yield (
            f"checkpoints in {asked.storage} are not shared with {asked.facts.host}, so that a trial that moves from "
            "or to it begins afresh; set training.storage_path to a folder or URI that all nodes reach"
        )
    elif not asked.come_back:
        yield f"what it writes to {asked.storage} is not seen on {asked.facts.host}; see how the folder is shared"


def _about_gpus(node: Node, gpus: str) -> Iterator[str]:
    count, _, nccl = gpus.partition(" NCCL")
    if not count.isdigit() or int(count) < node.gpus:
        yield (
            f"torch must see the {node.gpus:g} GPU that Ray hands out, got: {gpus}; see the driver, and which torch is "
            "installed"
        )
    elif not nccl:
        yield "torch must have NCCL for workers with GPUs, got none; install a torch that has it"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
