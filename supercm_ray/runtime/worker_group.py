"""One training run on several workers under Ray Train, as an iterator over the messages of rank 0."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import ray
from ray import ObjectRef, train
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supercm_ray.errors import StudyError, SuperCMError, WorkersError
from supercm_ray.execution.interruption import check_interrupt
from supercm_ray.records import Ordered
from supercm_ray.runtime import channel, losses, torch_backend, worker_loop
from supercm_ray.runtime.channel import NO_EPOCH, Channel, Item
from supercm_ray.runtime.cluster import HIDE_GPUS
from supercm_ray.runtime.nodes import Node, alive_nodes, is_this_machine_alone
from supercm_ray.runtime.placement import elsewhere_than
from supercm_ray.runtime.ray_version import check_ray_version
from supercm_ray.runtime.room import arithmetic, workers_that_fit

if TYPE_CHECKING:
    from supercm_ray.runtime.train_internals.trainer import Trainer

logger = logging.getLogger(__name__)

A = TypeVar("A")
M = TypeVar("M", bound=Ordered)

Loop: TypeAlias = Callable[[A], Iterator[M]]
"""The function that every worker runs. Its messages have an `epoch`; after a restart it yields those since its
checkpoint, or all, again."""

TRIAL_RESOURCES: dict[str, float] = {"memory": 1}
"""What a tuning trial with workers of its own reserves for its own process: one byte, since Tune accepts no empty
request, and a fraction of a CPU would be taken from the workers."""

_START_TIMEOUT_S = 600.0
_CHECK_INTERVAL_S = 0.5
_ABORT_TIMEOUT_S = 4.0


@dataclass(frozen=True)
class Workers:
    """The number of workers and the resources of each.

    Attributes:
        num_workers: a number, or the minimum and the maximum for a run that uses what the cluster has.
        use_gpu: whether each has a GPU.
        cpus_per_worker: CPUs of each.
        placement: whether they are put on as few nodes as possible (PACK), or on as many (SPREAD).
        max_failures: failures in a row, without a new epoch in between, after which the workers are started again.
        left_out: ids of nodes on which none is started.
        wait_for_room: whether a cluster that is too small at the moment is waited for, instead of refused.
    """

    num_workers: int | tuple[int, int]
    use_gpu: bool = False
    cpus_per_worker: float = 1
    placement: Literal["PACK", "SPREAD"] = "PACK"
    max_failures: int = 3
    left_out: frozenset[str] = frozenset()
    wait_for_room: bool = False

    @property
    def min_workers(self) -> int:
        """The minimum number of workers of a run."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        """The maximum number of workers of a run."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def resources(self) -> dict[str, float]:
        """Resources that each worker reserves."""
        return {"CPU": self.cpus_per_worker, **({"GPU": 1.0} if self.use_gpu else {})}


def groups_that_fit(workers: Workers, nodes: Collection[Node]) -> int:
    """Returns how many runs with this many workers fit these nodes at once, at least one.

    Raises:
        StudyError: if not even the minimum number of workers fits, instead of waiting for ever.
    """
    room = workers_that_fit(workers.resources, nodes)
    if room < workers.min_workers:
        wanted = " and ".join(f"{amount:g} {name}" for name, amount in workers.resources.items())
        raise StudyError(
            f"{workers.min_workers} workers must fit the cluster at once, got room for {room} with {wanted} each on "
            f"{arithmetic(nodes)}; ask for fewer workers, or for less for each, add nodes, or wait for them with "
            "--wait SECONDS"
        )
    return max(1, room // workers.max_workers)


class WorkerGroupRun(Generic[A, M]):
    """Runs a loop on several workers, connected by torch.distributed, and iterates over the messages of rank 0.

    If a worker or a node dies, it is replaced, and the loop starts again on all workers, from its own checkpoint;
    epochs that it yields again are left out. Everything ends with the iteration, with `close`, or with this process.

    Attributes:
        restarts: number of times the workers were started again.
    """

    def __init__(self, loop: Loop[A, M], argument: A, workers: Workers, *, name: str) -> None:
        """Stores what to run; workers are started when the first message is requested.

        Args:
            loop: the function that each worker runs.
            argument: the argument of the loop; large arrays are shared by the workers of a node.
            workers: number and resources of the workers.
            name: a name for Ray's own files.
        """
        self._loop, self._argument, self._workers = loop, argument, workers
        self._name = f"{name}-{secrets.token_hex(4)}"
        self.restarts = 0
        self._begun = False
        self._trainer: Trainer | None = None
        self._channel: ActorHandle | None = None
        self._files_of_ray: str | None = None
        self._waiting_since: float | None = None
        self._failure: tuple[int, str] | None = None

    def __iter__(self) -> Iterator[M]:
        """Yields the messages in order, each epoch once; a run is iterated once.

        Raises:
            StudyError: if the cluster is too small for the workers, unless it is waited for.
            SuperCMError: an error of this type that the loop raised on any worker.
            WorkersError: if the workers failed again and again without a new epoch, or could not be started for want of
                room.
            KeyboardInterrupt: after Ctrl-C or SIGTERM.
        """
        assert not self._begun, "a run is iterated once"
        self._begun = True
        return self._run()

    def __enter__(self) -> WorkerGroupRun[A, M]:
        """Returns the run itself; nothing is started yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the run."""
        self.close()

    def _run(self) -> Iterator[M]:
        if not self._workers.wait_for_room:
            groups_that_fit(self._workers, alive_nodes(self._workers.left_out))
        last_epoch = NO_EPOCH
        try:
            trainer, channel = self._start()
            for payload in self._payloads(trainer, channel):
                message: M = ray.cloudpickle.loads(payload)
                if message.order > last_epoch:
                    last_epoch = message.order
                    yield message
        finally:
            self.close()

    def _start(self) -> tuple[Trainer, ActorHandle]:
        check_ray_version()
        from supercm_ray.runtime import train_internals
        from supercm_ray.runtime.train_internals.trainer import Trainer

        for module in (channel, losses, torch_backend, worker_loop, train_internals):
            ray.cloudpickle.register_pickle_by_value(module)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._channel = carrier = ray.remote(num_cpus=0, scheduling_strategy=here)(Channel).remote()
        local = is_this_machine_alone()  # then workers connect over loopback too
        self._files_of_ray = tempfile.mkdtemp(prefix="supercm-workers-")
        self._trainer = trainer = Trainer(
            worker_loop.run_loop,
            train_loop_config={
                "channel": carrier,
                "loop": ray.cloudpickle.dumps(self._loop),
                "argument": ray.put(self._argument),
            },
            torch_config=torch_backend.NodeTorchConfig(folder=self._files_of_ray if local else ""),
            channel=carrier,
            max_failures=self._workers.max_failures,
            scaling_config=train.ScalingConfig(
                num_workers=self._workers.num_workers,
                use_gpu=self._workers.use_gpu,
                resources_per_worker=self._workers.resources,
                placement_strategy=self._workers.placement,
                label_selector=elsewhere_than(self._workers.left_out),
            ),
            run_config=train.RunConfig(
                name=self._name,
                storage_path=self._files_of_ray,
                failure_config=train.FailureConfig(max_failures=-1),
                worker_runtime_env={"env_vars": HIDE_GPUS},
                logging_config=train.LoggingConfig(log_level="ERROR"),
            ),
        )
        self._waiting_since = time.monotonic()
        trainer.fit()
        return trainer, carrier

    def _payloads(self, trainer: Trainer, channel: ActorHandle) -> Iterator[bytes]:
        while True:
            for kind, content in self._take(trainer, channel):
                if kind == "message":
                    yield content
                elif kind == "end":
                    return
                elif kind == "begin":
                    self._waiting_since, self._failure = None, None
                elif kind == "failure":
                    self._note_failure(*content)
                elif kind == "down":
                    self._note_down(*content)

    def _take(self, trainer: Trainer, channel: ActorHandle) -> list[Item]:
        """Returns items of the channel as soon as there are any. Another thread may have closed the run."""
        arrived, finished = channel.take.remote(), trainer.finished
        while True:
            check_interrupt()
            ready, _ = ray.wait([arrived, finished], timeout=_CHECK_INTERVAL_S)
            if finished in ready and arrived not in ready:  # what was said before the end may still be on its way
                ready, _ = ray.wait([arrived], timeout=_ABORT_TIMEOUT_S)
                if not ready:
                    raise _unexpected_end(trainer)
            if arrived in ready:
                return self._opened(arrived)
            if self._waiting_since is not None and time.monotonic() - self._waiting_since > _START_TIMEOUT_S:
                raise WorkersError(
                    f"{self._workers.min_workers} workers must start within {_START_TIMEOUT_S:g} s, got none; see "
                    "what else takes the resources of the cluster",
                    is_lost=True,
                )

    def _opened(self, arrived: ObjectRef) -> list[Item]:
        try:
            items: list[Item] = ray.get(arrived)
        except RayActorError as error:
            raise WorkersError(
                f"the process that carries the workers' messages died; {_last_line(str(error))}", str(error)
            ) from None
        return items

    def _note_failure(self, rank: int, text: str, error: bytes | None) -> None:
        """Keeps the first failure of an attempt, from which the others follow; raises one that is final."""
        if error is not None:
            raised: SuperCMError = ray.cloudpickle.loads(error)
            raise raised
        if self._failure is None:
            self._failure = rank, text

    def _note_down(self, again: bool, failures: int, is_lost: bool, death: str, text: str) -> None:
        """Notes that the workers were stopped: logs the reason, or raises it if they are not started again."""
        if death or self._failure is None:
            reason, account = death or _last_line(text), text
        else:
            rank, account = self._failure
            reason = f"worker {rank}: {_last_line(account)}"
        if not again:
            times = f" {failures} times in a row without a new epoch" if failures > 1 else ""
            raise WorkersError(f"the workers failed{times}; {reason}", account, is_lost)
        self.restarts += 1
        self._waiting_since, self._failure = time.monotonic(), None
        logger.warning("%s: the workers failed and are started again; %s", self._name, reason)

    def close(self) -> None:
        """Frees all resources: workers, their placement group, and Ray's helpers. No-op after the first call."""
        trainer, self._trainer = self._trainer, None
        channel, self._channel = self._channel, None
        try:
            if ray.is_initialized():
                self._free(trainer, channel)
        finally:
            if self._files_of_ray is not None:
                shutil.rmtree(self._files_of_ray, ignore_errors=True)

    def _free(self, trainer: Trainer | None, channel: ActorHandle | None) -> None:
        try:
            if trainer is not None and hasattr(trainer, "controller"):
                _abort(trainer.controller)
        finally:
            _remove_placement_groups(self._name)
            if channel is not None:
                ray.kill(channel)


def _unexpected_end(trainer: Trainer) -> WorkersError:
    """Returns the error of a controller that has ended without a message."""
    try:
        ray.get(trainer.finished)
        result = ray.get(trainer.controller.get_result.remote(), timeout=_ABORT_TIMEOUT_S)
        text = str(result.error or "it finished before its workers")
    except RayError as error:
        text = str(error)
    return WorkersError(f"the process that controls the workers came to an end; {_last_line(text)}", text)


def _abort(controller: ActorHandle) -> None:
    """Makes the controller stop everything; kills it if it does not answer, as while it starts workers."""
    try:
        ray.get(controller.abort.remote(), timeout=_ABORT_TIMEOUT_S)
    except (RayActorError, GetTimeoutError):
        pass
    finally:
        ray.kill(controller)


def _remove_placement_groups(name: str) -> None:
    for key, group in placement_group_table().items():
        if group["name"].startswith(f"{name}/") and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(key))))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason is known"])[-1].strip()
