"""Which of Ray's errors mean that the infrastructure took a process, and not that the process failed.

It is sent to Ray's processes by value, with what imports it there.
"""

from __future__ import annotations

from ray.exceptions import ActorDiedError, RayError, RayTaskError, WorkerCrashedError

_SIGNS_OF_LOSS = ("node has died", "node was dead", "low on memory", "placement group was removed", "drain")


def is_lost(error: object) -> bool:
    """Returns whether an error means that a node went away, was pre-empted or ran out of memory, or that a process
    could not be reached; False if the process ended by itself or raised.
    """
    if not isinstance(error, RayError) or isinstance(error, RayTaskError | WorkerCrashedError):
        return False
    if not isinstance(error, ActorDiedError):
        return True
    if error.actor_init_failed:
        return False
    return error.preempted or any(sign in str(error) for sign in _SIGNS_OF_LOSS)
