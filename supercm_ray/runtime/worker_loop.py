"""What each worker of a run executes. It is sent to Ray's processes by value."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import ray
from ray import train

_SWITCH_INTERVAL_S = 0.05


def run_loop(config: dict[str, Any]) -> None:
    """Runs the loop and sends what rank 0 yields over the channel.

    An epoch waits until the message of the epoch before has arrived, not for its own.

    Args:
        config: `loop`, serialized; `argument`, a reference to the loop's argument; `channel`, the channel's handle.
    """
    import traceback

    _start_own_session()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)  # Ray's main thread asks for the GIL every 10 ms; steps give it by then
    context = train.get_context()
    rank, num_workers, channel = context.get_world_rank(), context.get_world_size(), config["channel"]
    sent = channel.begin.remote(rank, num_workers, ray.get_runtime_context().current_actor)
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
        final = isinstance(error, SuperCMError) and not isinstance(error, StorageError)
        ray.get([sent, channel.fail.remote(rank, text, ray.cloudpickle.dumps(error) if final else None)])
        raise RuntimeError(text.splitlines()[-1]) from None  # a type that the controller can deserialize


def _start_own_session() -> None:
    """Gives this process a session of its own, as torchrun gives each worker.

    Linux shares cores out by session (sched_autogroup), and workers that share one with Ray's helper processes and
    the user's shell get less of them.
    """
    with contextlib.suppress(OSError):  # if it has one, or may not have one: only speed depends on it
        os.setpgid(0, os.getpgid(os.getppid()))  # Ray makes a worker a group leader, and leaders may not call setsid
        os.setsid()
