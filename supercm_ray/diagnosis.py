"""The command `doctor`: what is right and wrong with a cluster and the places that a study needs, without a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from supercm_ray.config import ClusterOptions, Study
from supercm_ray.data.images import Pixels, StreamedImages
from supercm_ray.errors import SuperCMError
from supercm_ray.execution.allotment import alone, cores_allotted
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.joining import address_to_join
from supercm_ray.runtime.listeners import Listener, has_token, ray_listeners
from supercm_ray.runtime.node_report import NodeReport
from supercm_ray.runtime.nodes import alive_nodes, gcs_address, where
from supercm_ray.runtime.preflight import Question, ask_nodes, ask_this_machine
from supercm_ray.runtime.room import wait_for_room
from supercm_ray.runtime.shipping import code_to_ship
from supercm_ray.tracking import mlflow_place
from supercm_ray.training.preflight import load_checked

State: TypeAlias = Literal["right", "warning", "wrong"]
_SLURM = ("SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURM_JOB_NODELIST", "SLURM_CPUS_ON_NODE", "SLURM_GPUS_ON_NODE")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is, such as `node head` or `MLflow`.
        state: whether it is right, wrong, or only to be known.
        text: what was found, and the remedy.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` has found.

    Attributes:
        where: the line that says where a study would run; empty if it could not.
        checks: everything that was looked at.
        nodes: what each node has found.
        listeners: what listens on this machine for Ray.
        has_token: whether the cluster asks for a token, as far as this machine tells.
    """

    where: str
    checks: tuple[Check, ...]
    nodes: tuple[NodeReport, ...] = field(default=())
    listeners: tuple[Listener, ...] = field(default=())
    has_token: bool | None = None

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.state != "wrong" for check in self.checks)


def diagnose(study: Study | None, *, results: Path, options: ClusterOptions) -> Diagnosis:
    """Looks at the cluster and at what a study needs (see `supercm_ray.doctor`)."""
    checks: list[Check] = []
    question = Question(
        plugins=study.base.plugins if study else (),
        images=_images(study, checks) if study else None,
        storage=(study.base.training.storage_path if study else None) or str(results.resolve()),
        gpus=True,
    )
    try:
        found = _look(question, options)
        checks.append(Check("cluster", "right", found.where))
    except SuperCMError as error:
        found = Diagnosis("", ())
        checks.append(Check("cluster", "wrong", str(error)))
    checks += [check for report in found.nodes for check in _of_node(report)]
    checks += [*_of_listeners(found), *_of_tracking(study, len(found.nodes)), *_of_slurm(os.environ)]
    return replace(found, checks=tuple(checks))


def _look(question: Question, options: ClusterOptions) -> Diagnosis:
    """Returns where a study would run, a report on each node there, and what listens on this machine."""
    address = address_to_join()
    if address is None:
        return Diagnosis(alone("this machine", cores_allotted()), (), (ask_this_machine(question),))
    with ray_session(code_to_ship(question.plugins, ship_code=options.ship_code)):
        wait_for_room(alive_nodes, lambda: None, [{"CPU": 1.0}], options, lambda said: None)
        return Diagnosis(where(), (), tuple(ask_nodes(question)), tuple(ray_listeners()), has_token(gcs_address()))


def _images(study: Study, checks: list[Check]) -> Pixels | StreamedImages | None:
    try:
        dataset = load_checked(study, all_seeds=bool(study.space))
    except SuperCMError as error:
        checks.append(Check("data", "wrong", str(error)))
        return None
    how = "read on every node" if isinstance(dataset.images, StreamedImages) else "sent to nodes"
    checks.append(Check("data", "right", f"{len(dataset.labels)} samples of {dataset.name}, {how}"))
    return dataset.images


def _of_node(report: NodeReport) -> Iterator[Check]:
    name = f"node {report.node.name}"
    for fault in report.faults:
        yield Check(name, "wrong", fault)
    for warning in report.warnings:
        yield Check(name, "warning", warning)
    facts = report.facts
    if facts is not None and not report.faults:
        interface = next((one for one, found in facts.interfaces.items() if found == report.node.address), "none")
        resolved = f", and its name stands for {facts.resolves_to}" if facts.resolves_to else ""
        gpus = f"; GPUs and NCCL: {facts.gpus}" if facts.gpus else ""
        yield Check(
            name,
            "right",
            f"{report.node.amounts}, Python {facts.python}, {facts.package}; workers talk over {interface} "
            f"({report.node.address}{resolved}); {facts.shared_memory >> 20} MiB of shared memory, "
            f"{report.node.object_store_bytes / 2**20:.0f} MiB of them Ray's{gpus}",
        )


def _of_listeners(found: Diagnosis) -> Iterator[Check]:
    """Yields what other machines reach of Ray on this one, and whether it asks them for a token."""
    if not found.listeners:
        return
    reached = "; ".join(str(listener) for listener in found.listeners if listener.is_open)
    if reached and found.has_token is False:
        yield Check(
            "ports",
            "wrong",
            f"Ray must ask for a token where other machines reach it, got none and {reached}; start it with "
            "RAY_AUTH_MODE=token and one token on every node, behind a firewall",
        )
    else:
        asked = "a token is asked for" if found.has_token else "see that a token is asked for"
        state: State = "right" if found.has_token or not reached else "warning"
        yield Check("ports", state, f"{reached}; {asked}" if reached else "on loopback alone")


def _of_tracking(study: Study | None, num_nodes: int) -> Iterator[Check]:
    try:
        place = mlflow_place(study)
    except SuperCMError as error:
        yield Check("MLflow", "wrong", str(error))
        return
    if place is not None and place.startswith("sqlite:") and num_nodes > 1:
        yield Check(
            "MLflow",
            "wrong",
            f"MLflow must be a server where a cluster has several nodes, got {place}, which is this node's alone; "
            "start one with launch/mlflow-server.sh, and set MLFLOW_TRACKING_URI to its address",
        )
    else:
        yield Check("MLflow", "right", place or "not used")


def _of_slurm(environ: Mapping[str, str]) -> Iterator[Check]:
    found = [f"{name}={environ[name]}" for name in _SLURM if name in environ]
    if found:
        yield Check("SLURM", "right", ", ".join(found))
