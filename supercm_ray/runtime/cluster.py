"""Connecting to Ray: joining a cluster, or starting one of this machine alone (see `joining`)."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ray

from supercm_ray.credentials import has_credentials
from supercm_ray.errors import ClusterError, SuperCMError
from supercm_ray.execution.allotment import cores_allotted, gpus_allotted
from supercm_ray.execution.environment import withheld
from supercm_ray.execution.interruption import interruptible
from supercm_ray.runtime.joining import address_to_join
from supercm_ray.runtime.ray_version import check_ray_version

HIDE_GPUS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Environment of trials and workers that hides all GPUs from those without one."""

_DRIVER_ENVIRONMENT = {
    **HIDE_GPUS,
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they mean where the command is given
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # this package keeps its own records
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is a KeyboardInterrupt, as everywhere in Python
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # an objective may be a searched value, which no result reports
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the searcher hands out no more than fit
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 lets its own processes, which have less to do, push workers off their cores
}
_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}


@contextmanager
def ray_session(code: Sequence[str] = ()) -> Iterator[None]:
    """Connects to Ray for the duration of the block; within another such block, uses its connection.

    `joining` says which cluster that is. A cluster of this machine alone has the cores and GPUs that this process was
    allotted, and is started on loopback, protected by a token of its own that exists in the environment of its
    processes alone. It ends with this process, however that ends. Ray's processes inherit none of MLflow's variables,
    nor a password of PostgreSQL or an address with credentials, other than of a proxy.

    Args:
        code: modules and packages, by path, that are sent to the nodes of a cluster (see `shipping`).

    Raises:
        StudyError: if the installed version of Ray is not supported.
        ClusterError: if it is not clear which cluster is meant, or it cannot be joined.
        SuperCMError: if Ray does not start.
    """
    check_ray_version()
    if ray.is_initialized():
        yield
        return
    for name, value in _DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = address_to_join()
    with withheld(_is_for_trackers):
        _start() if address is None else _join(address, code)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with interruptible():  # again, since Ray has put handlers of its own in place
            yield
    finally:
        ray.shutdown()


def _start() -> None:
    """Starts Ray on this machine."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # unless RAY_AUTH_MODE=disabled, Ray takes it
    try:
        with _loopback_node():
            ray.init(
                address="local",
                num_cpus=cores_allotted(),
                num_gpus=gpus_allotted(),
                include_dashboard=False,
                runtime_env={"worker_process_setup_hook": _working_directory_last(str(Path.cwd()))},
                **_QUIET,
            )
    except Exception as error:  # Ray raises a bare one where a process of its own is late
        raise SuperCMError(f"Ray does not start: {_reason(error)}") from error


def _join(address: str, code: Sequence[str]) -> None:
    """Connects to a cluster."""
    environment: dict[str, object] = {
        "worker_process_setup_hook": _working_directory_last(str(Path.cwd())),
        "env_vars": {**HIDE_GPUS},  # a copy, to which Ray adds
    }
    if code:
        environment["py_modules"] = list(code)
    try:
        ray.init(address=address, runtime_env=environment, **_QUIET)
    except Exception as error:  # as above
        raise ClusterError(
            f"the Ray cluster at {address} must take this command, got: {_reason(error)}; see that Ray and its token "
            "are the same here as there, or set RAY_ADDRESS=local to run on this machine alone"
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _working_directory_last(directory: str) -> Callable[[], None]:
    """Returns a function that workers run as they start, so that the working directory is searched for modules last,
    and a file such as `torch.py` in it stands in for nothing else, where Ray would put it first.
    """

    def set_up() -> None:
        import sys

        class _Path(list):  # type: ignore[type-arg]
            def insert(self, index: object, entry: str) -> None:
                if entry == directory:
                    if entry not in self:
                        self.append(entry)
                else:
                    super().insert(index, entry)  # type: ignore[arg-type]

        sys.path = _Path(sys.path)

    return set_up


def _is_for_trackers(name: str, value: str) -> bool:
    """Returns whether a variable is of no use but to trackers, which workers do not call: what workers read object
    stores with is not.
    """
    if name.startswith("MLFLOW_") or name == "PGPASSWORD":
        return True
    return has_credentials(value) and "://" in value and not name.lower().endswith("_proxy")


def _loopback_node() -> AbstractContextManager[None]:
    from supercm_ray.runtime.train_internals.loopback_node import loopback_node  # once the version is known to fit

    return loopback_node()
