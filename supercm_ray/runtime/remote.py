"""What runs in Ray's own processes for one training run on several workers.

All of it is sent by value, so that the processes of the channel and the controller need nothing of this package. The
parts of Ray Train that are no public interface are used here and nowhere else; `tests/runtime/test_ray_internals.py`
says what is relied on. How they hang together:

The channel belongs to the process that consumes the run's messages and ends with it. The controller is detached, so
that it outlives a consumer killed by -9; it sees that from the channel, takes the workers and their placement group
down, and ends. Ray by itself would keep the placement group until the end of the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train.torch.config import (
    TorchConfig,
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)
from ray.train.v2._internal.callbacks import DatasetsCallback, WorkingDirectorySetupCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
)
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.train.v2.api.exceptions import ControllerError
from ray.train.v2.api.result import Result
from ray.train.v2.torch.torch_trainer import TorchTrainer
from ray.util.placement_group import placement_group

NOTHING_YET = -1
"""The last epoch of a run that has reported none."""

_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process for each run; a node that goes away is seen anyway
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",  # or a worker that hangs delays a new start by half a minute
}


_SWITCH_INTERVAL_S = 0.05


def _stand_behind() -> None:
    """Has this process, which only carries messages, give way to workers, lest it push them off their cores."""
    for thread in (os.getpid(), threading.get_native_id()):  # the main one, where Ray looks for signals, and this
        os.setpriority(os.PRIO_PROCESS, thread, max(10, os.getpriority(os.PRIO_PROCESS, thread)))


def _have_own_session() -> None:
    """Gives this process a session of its own, as torchrun gives each worker: Linux shares cores out by session
    (sched_autogroup), and workers that have one with Ray's helpers and the user's shell get less of them.
    """
    with contextlib.suppress(OSError):  # where it has one, or may not: only speed depends on it
        os.setpgid(0, os.getpgid(os.getppid()))  # Ray makes a worker the leader of a group, who may not leave by setsid
        os.setsid()


class Channel:
    """Carries what the workers say to the consumer, in order, and knows how far the run has come.

    Payloads are bytes that are opened by the consumer alone.
    """

    def __init__(self) -> None:
        _stand_behind()
        self._items: list[tuple[str, Any]] = []
        self._arrived = asyncio.Event()
        self._ended: set[int] = set()
        self._epoch, self._hopeless = NOTHING_YET, False

    def _add(self, kind: str, payload: Any) -> None:
        self._items.append((kind, payload))
        self._arrived.set()

    async def begin(self, rank: int, num_workers: int) -> None:
        """A worker begins, for the first time or again."""
        self._ended.discard(rank)
        if rank == 0:
            self._add("begin", num_workers)

    async def put(self, epoch: int, payload: bytes) -> None:
        """A message of the loop."""
        self._epoch = max(self._epoch, epoch)
        self._add("message", payload)

    async def end(self, rank: int, num_workers: int) -> None:
        """The loop of a worker has come to its end; when all have, the run has."""
        self._ended.add(rank)
        if self._ended >= set(range(num_workers)):  # one of a larger group, now gone, may have ended before
            self._add("end", None)

    async def fail(self, rank: int, text: str, error: bytes | None) -> None:
        """The loop of a worker raised: the traceback, and the error itself where to try again is of no use."""
        self._hopeless = self._hopeless or error is not None
        self._add("failure", (rank, text, error))

    async def progress(self) -> tuple[int, bool]:
        """The last epoch, and whether to go on is of no use."""
        return self._epoch, self._hopeless

    async def down(self, again: bool, failures: int, death: str, text: str) -> None:
        """The workers are taken down after a failure: whether they are started again, failures in a row, how one of
        them died, and Ray's account.
        """
        self._ended.clear()
        self._add("down", (again, failures, death, text))

    async def take(self) -> list[tuple[str, Any]]:
        """All there is, or the next to come."""
        await self._arrived.wait()
        items, self._items = self._items, []
        self._arrived.clear()
        return items

    async def last(self) -> None:
        """Never returns: whoever waits for it learns that the channel is gone."""
        await asyncio.Event().wait()


def work(config: dict[str, Any]) -> None:
    """What a worker runs: the loop, with what rank 0 yields put into the channel.

    An epoch does not wait for its message to arrive, unless the one before has not.
    """
    import traceback

    _have_own_session()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)  # Ray's main thread asks for the GIL every 10 ms; steps give it by then
    context = ray.train.get_context()
    rank, num_workers, channel = context.get_world_rank(), context.get_world_size(), config["channel"]
    sent = channel.begin.remote(rank, num_workers)
    try:
        loop, argument = ray.cloudpickle.loads(config["loop"]), ray.get(config["argument"])
        for message in loop(argument):
            if rank == 0:
                payload = ray.cloudpickle.dumps(message)
                ray.get(sent)
                sent = channel.put.remote(message.order, payload)
        ray.get(sent)
        ray.get(channel.end.remote(rank, num_workers))
    except BaseException as error:
        from supercm_ray.errors import StorageError, SuperCMError

        trace = error.__traceback__.tb_next if error.__traceback__ else None
        text = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
        settled = isinstance(error, SuperCMError) and not isinstance(error, StorageError)
        final = ray.cloudpickle.dumps(error) if settled else None
        ray.get([sent, channel.fail.remote(rank, text, final)])
        raise RuntimeError(text.splitlines()[-1]) from None  # one that the controller can open


class ProgressPolicy(DefaultFailurePolicy):
    """Starts the workers again after each failure, until `limit` failures in a row brought no new epoch."""

    def __init__(self, failure_config: Any, channel: Any, limit: int) -> None:
        super().__init__(failure_config)
        self._channel, self._limit = channel, limit
        self._epoch, self._failures = NOTHING_YET, 0

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        """Decides about failures of workers and of their start alike."""
        try:
            epoch, hopeless = ray.get(self._channel.progress.remote(), timeout=30)
            self._failures = 1 if epoch > self._epoch else self._failures + 1
            self._epoch = epoch
            useful = self._failures <= self._limit and self._is_retryable_error(training_failed_error)
            again = useful and not hopeless
            text, death = str(training_failed_error), _death(training_failed_error)
            ray.get(self._channel.down.remote(again, self._failures, death, text), timeout=30)
        except (RayActorError, TimeoutError):
            return FailureDecision.RAISE
        return FailureDecision.RETRY if again else FailureDecision.RAISE


def _death(error: Any) -> str:
    """How the process of a worker died, or why none could be started; nothing where a worker's loop raised."""
    if isinstance(error, ControllerError):
        return str(error).strip().splitlines()[-1].split(" Potential causes include")[0]
    for rank, failure in getattr(error, "worker_failures", {}).items():
        if isinstance(failure, WorkerHealthCheckFailedError):
            line = str(failure).strip().splitlines()[-1].strip()
            return (
                f"worker {rank} died: {line.split('Worker exit detail: ')[-1].split(' If the process was killed')[0]}"
            )
    return ""


class LoopbackBackend(_TorchBackend):
    """Connects workers of one machine over a file; the store that torch would open listens on every interface."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """As Ray's, but for where the workers meet."""
        worker_group.execute(_set_torch_distributed_env_vars)
        folder = tempfile.mkdtemp(dir=ray._private.worker.global_worker.node.get_session_dir_path())
        given = {
            "backend": backend_config.backend,
            "world_size": len(worker_group),
            "init_method": f"file://{folder}/store",
            "timeout_s": backend_config.timeout_s,
        }
        ray.get(
            [
                worker_group.execute_single_async(rank, _setup_torch_process_group, world_rank=rank, **given)
                for rank in range(len(worker_group))
            ]
        )


class LoopbackTorchConfig(TorchConfig):
    """For a cluster that is all on loopback."""

    @property
    def backend_cls(self) -> type[LoopbackBackend]:
        """Who connects the workers."""
        return LoopbackBackend


class FreshElasticPolicy(ElasticScalingPolicy):
    """Counts on no node that has died, as Ray's does for up to 20 s."""

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        there = {node: resources for node, resources in reserved_resources.items() if node in alive}
        return super()._count_possible_workers(there)


class PlainPolicy(FixedScalingPolicy):
    """Asks for resources by its placement group alone; Ray's also keeps a process for it that autoscalers need not."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Nothing."""

    def _maybe_send_resource_request(self) -> None:
        """Nothing."""

    async def before_controller_shutdown(self) -> None:
        """Nothing."""

    def before_controller_abort(self) -> None:
        """Nothing."""


class NamedWorkerGroup(WorkerGroup):
    """Its placement group is found by its name, also while it is pending; it has no process for Ray's reports."""

    def _init_train_context(self, workers: Any, sync_actor: Any) -> None:
        super()._init_train_context(workers, sync_actor)
        ray.kill(sync_actor)  # reports of Ray's own would meet there; even idle it takes a hundredth of a core

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


class Controller(TrainController):
    """A controller that ends with its channel."""

    worker_group_cls = NamedWorkerGroup

    def __init__(self, *, channel: Any, **kwargs: Any) -> None:
        _stand_behind()
        self._channel = channel
        super().__init__(**kwargs)

    async def run(self) -> None:
        """Runs to the end, and watches the channel also after it."""
        self._watch = asyncio.ensure_future(self._end_with_channel())
        await super().run()

    async def _end_with_channel(self) -> None:
        try:
            await self._channel.last.remote()
        except RayActorError:
            try:
                await self.abort()
            finally:
                os._exit(0)

    async def _poll_workers(self) -> Any:
        """Ray's, and once more after a failure, since the death of a worker is seen later than what follows from it."""
        status = await super()._poll_workers()
        if status.errors and not _death(status.get_worker_group_error()):
            await asyncio.sleep(0.5)
            status = self._worker_group.poll_status(timeout=self._health_check_interval_s)
        return status

    async def _step(self) -> Any:
        result = await super()._step()
        waiting = isinstance(result.next_state, InitializingState | RestartingState | ReschedulingState)
        if waiting and result.next_state is result.previous_state:  # for resources: Ray asks again without a pause
            await asyncio.sleep(0.5)
        return result


class Trainer(TorchTrainer):
    """A trainer whose `fit` returns at once.

    Attributes:
        controller: the handle of the actor that runs the workers.
        finished: resolved when it has come to its end.
    """

    controller: Any
    finished: Any

    def __init__(self, *args: Any, channel: Any, max_failures: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._channel, self._max_failures = channel, max_failures

    def _create_default_callbacks(self) -> list[Any]:
        """Ray's, without those that cost a process each for what is not used here, or change the directory."""
        unused = (DatasetsCallback, PlacementGroupCleanerCallback, WorkingDirectorySetupCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **kwargs: Any) -> Result:
        here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        chosen = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        actor = ray.remote(
            num_cpus=0,
            lifetime="detached",
            label_selector=here,
            runtime_env={"env_vars": {**_ENVIRONMENT, **get_env_vars_to_propagate(), **chosen}},
        )(Controller)
        kwargs["failure_policy"] = ProgressPolicy(self.run_config.failure_config, self._channel, self._max_failures)
        policy = FreshElasticPolicy if self.scaling_config.elasticity_enabled else PlainPolicy
        kwargs["scaling_policy"] = policy(self.scaling_config)
        self.controller = actor.remote(channel=self._channel, **kwargs)
        self.finished = self.controller.run.remote()
        return Result(metrics=None, checkpoint=None, error=None, path="", metrics_dataframe=None)
