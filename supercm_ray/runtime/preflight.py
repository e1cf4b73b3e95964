"""What is checked on every node of a cluster, at once, before the first trial."""

from __future__ import annotations

import json
import pickle
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray
from ray import ObjectRef
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supercm_ray.config import ClusterOptions
from supercm_ray.data.images import ImageFiles, JoinedImages, MaskedImages, Pixels, SelectedImages, StreamedImages
from supercm_ray.errors import ClusterError, StorageError
from supercm_ray.execution.allotment import cores_allotted
from supercm_ray.records import CheckpointStore
from supercm_ray.runtime import probe
from supercm_ray.runtime.node_report import Asked, NodeFacts, NodeReport, judge
from supercm_ray.runtime.nodes import Node, alive_nodes, is_this_machine_alone

_TIMEOUT_S, _INTERVAL_S = 60.0, 0.5
_NUM_SAMPLES = 16


@dataclass(frozen=True)
class Question:
    """What nodes are asked.

    Attributes:
        plugins: names of the modules that a study imports.
        images: its images, which are looked at if they are read from files on each node.
        storage: the folder or URI of its checkpoints; empty if that is not to be asked.
        gpus: whether to ask for GPUs and NCCL, which takes seconds.
    """

    plugins: tuple[str, ...] = ()
    images: Pixels | StreamedImages | None = None
    storage: str = ""
    gpus: bool = False


def unfit_nodes(
    question: Question,
    options: ClusterOptions,
    say: Callable[[str], None],
    nodes: Sequence[Node] | None = None,
    *,
    is_over: threading.Event | None = None,
) -> dict[str, str]:
    """Asks nodes, and returns the reason for each one that is to be left out, by its id. Ray that this command has
    started on this machine has none to ask.

    Args:
        question: what to ask.
        options: whether any unfit node is refused.
        say: called with a line for each node that is left out, and for each warning.
        nodes: the nodes; by default all that are alive.
        is_over: once it is set, answers are waited for no more.

    Raises:
        ClusterError: if no node remains that has CPUs, or, under `strict`, if any is unfit.
    """
    if is_this_machine_alone():
        return {}
    reports = ask_nodes(question, nodes, is_over=is_over)
    unfit = {report.node.id: report.faults[0] for report in reports if report.faults}
    listed = "; ".join(f"{report.node.name}: {report.faults[0]}" for report in reports if report.faults)
    if unfit and options.strict:
        raise ClusterError(f"every node must be fit for --strict, got {len(unfit)} that are not: {listed}")
    if unfit and not any(report.node.cpus for report in reports if not report.faults):
        raise ClusterError(f"a node must be fit to train, got none: {listed}")
    for report in reports:
        for fault in report.faults:
            say(f"node {report.node.name} is left out: {fault}")
        for warning in report.warnings if not report.faults else ():
            say(f"node {report.node.name}: {warning}")
    return unfit


def ask_nodes(
    question: Question,
    nodes: Sequence[Node] | None = None,
    *,
    timeout_s: float = _TIMEOUT_S,
    is_over: threading.Event | None = None,
) -> list[NodeReport]:
    """Asks nodes, all at once, and returns a report on each.

    Args:
        question: what to ask.
        nodes: the nodes; by default all that are alive.
        timeout_s: seconds within which a node must answer.
        is_over: once it is set, answers are waited for no more.

    Raises:
        StorageError: if this process cannot write checkpoints.
    """
    nodes = alive_nodes() if nodes is None else nodes
    images = pickle.dumps(list(_few_images(question.images)))
    with _marked(question.storage, [node.id for node in nodes]) as (marker, come_back):
        began = time.time()
        answers = _ask(nodes, question, images, marker, timeout_s, is_over or threading.Event())
        ended, seen = time.time(), come_back()
        here = _facts(probe.look(_asked(replace(question, storage="", plugins=(), gpus=False), "", ""), b""))
    asked = Asked(here, began, ended, question.storage, come_back=False, num_nodes=len(nodes))
    return [
        judge(node, answer, replace(asked, come_back=node.id in seen))
        if isinstance(answer, NodeFacts)
        else NodeReport(node, None, (answer,))
        for node, answer in zip(nodes, answers, strict=True)
    ]


def ask_this_machine(question: Question) -> NodeReport:
    """Returns a report on this machine, without Ray.

    Raises:
        StorageError: if this process cannot write checkpoints.
    """
    with _marked(question.storage, ["here"]) as (marker, _):
        facts = _facts(probe.look(_asked(question, marker, "here"), pickle.dumps(list(_few_images(question.images)))))
    node = Node("here", facts.host, "127.0.0.1", cores_allotted(), 0.0)
    return judge(node, facts, Asked(facts, facts.clock, facts.clock, question.storage, come_back=True, num_nodes=1))


def _ask(
    nodes: Sequence[Node], question: Question, images: bytes, marker: str, timeout_s: float, is_over: threading.Event
) -> list[NodeFacts | str]:
    """Returns what each node has found, or why it has not answered."""
    with _by_value():
        task, shipped = ray.remote(num_cpus=0, max_retries=0)(probe.look), ray.put(images)
        asked = [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                _asked(question, marker, node.id), shipped
            )
            for node in nodes
        ]
    until, waiting = time.monotonic() + timeout_s, asked
    while waiting and not is_over.is_set() and time.monotonic() < until:
        _, waiting = ray.wait(asked, num_returns=len(asked), timeout=_INTERVAL_S)
    return [_answer(one, timeout_s) for one in asked]


def _answer(asked: ObjectRef, timeout_s: float) -> NodeFacts | str:
    ready, _ = ray.wait([asked], timeout=0)
    if not ready:
        with suppress(RayError):
            ray.cancel(asked, force=True)
        return f"it must answer within {timeout_s:g} s, got nothing; see whether it is on and its network works"
    try:
        return _facts(ray.get(asked))
    except Exception as error:
        reason = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
        return f"it must be able to run a task, got {reason[-1].strip()}; see Ray's logs there"


def _asked(question: Question, marker: str, node_id: str) -> str:
    return json.dumps(
        {
            "plugins": question.plugins,
            "storage": question.storage,
            "markers": [marker, f"{marker}-{node_id}"],
            "gpus": question.gpus,
        }
    )


def _facts(answer: str) -> NodeFacts:
    return NodeFacts(**json.loads(answer))


@contextmanager
def _by_value() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(probe)
    try:
        yield
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)


@contextmanager
def _marked(place: str, node_ids: Collection[str]) -> Iterator[tuple[str, Callable[[], set[str]]]]:
    """Has a file where checkpoints are written, within the block.

    Returns:
        Its name, and a function that returns the nodes whose own files are seen there.
    """
    marker = f".preflight-{secrets.token_hex(4)}"
    names = {node_id: f"{marker}-{node_id}" for node_id in node_ids}
    if not place:
        yield marker, set
        return
    store = CheckpointStore(place)
    is_new = "://" not in place and not Path(place).exists()
    try:
        store.write(b"", marker)
        store.wait()
        yield marker, lambda: {node_id for node_id, name in names.items() if store.read(name) is not None}
    finally:
        with suppress(StorageError):
            store.remove(marker, *names.values())
        store.close()
        if is_new:
            with suppress(OSError):  # others write there by now
                Path(place).rmdir()


def _few_images(images: Pixels | StreamedImages | None) -> Iterator[ImageFiles]:
    """Yields a few of the samples that are read from files, spread over each data set."""
    if isinstance(images, ImageFiles):
        kept = np.unique(np.linspace(0, len(images.files) - 1, _NUM_SAMPLES).astype(np.int64))
        files = tuple(images.files[sample] for sample in kept)
        yield replace(images, files=files, known_digests=images.known_digests[kept])
    elif isinstance(images, SelectedImages | MaskedImages):
        yield from _few_images(images.images)
    elif isinstance(images, JoinedImages):
        yield from _few_images(images.source)
        yield from _few_images(images.target)
