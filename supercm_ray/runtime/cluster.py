"""Starting Ray on this machine, or joining the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import ray

from supercm_ray.config import Budget
from supercm_ray.credentials import has_credentials
from supercm_ray.errors import StudyError, SuperCMError
from supercm_ray.execution.interruption import interruptible
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
_CONNECT_TIMEOUT_S = 10.0


@contextmanager
def ray_session() -> Iterator[None]:
    """Connects to Ray for the duration of the block; within another such block, uses its connection.

    Without RAY_ADDRESS a cluster of this machine is started on loopback, protected by a token of its own that exists
    in the environment of its processes alone. It ends with this process, however that ends. Ray's processes inherit
    none of MLflow's variables, nor a password of PostgreSQL or an address with credentials, other than of a proxy.

    Raises:
        StudyError: if the installed version of Ray is not supported.
        SuperCMError: if no cluster answers at RAY_ADDRESS, or Ray does not start.
    """
    check_ray_version()
    if ray.is_initialized():
        yield
        return
    for name, value in _DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check_reachable(address)
    else:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # unless RAY_AUTH_MODE=disabled, Ray takes it
    environment: dict[str, object] = {"worker_process_setup_hook": _working_directory_last(str(Path.cwd()))}
    place: dict[str, object] = {"runtime_env": environment}
    place |= {"runtime_env": {**environment, "env_vars": HIDE_GPUS}} if address else {"include_dashboard": False}
    try:
        with _without_trackers_variables(), nullcontext() if address else _loopback_node():
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **place)
    except Exception as error:  # Ray raises a bare one where a process of its own is late
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SuperCMError(f"Ray does not start: {reason}") from error
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with interruptible():  # again, since Ray has put handlers of its own in place
            yield
    finally:
        ray.shutdown()


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


def _check_reachable(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if not separator or "//" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise SuperCMError(
            f"a Ray cluster must answer at RAY_ADDRESS, got {address!r}: {error}; start it, or unset RAY_ADDRESS to "
            "run on this machine"
        ) from error


@contextmanager
def _without_trackers_variables() -> Iterator[None]:
    names = [name for name, value in os.environ.items() if _is_for_trackers(name, value)]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


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


def processes_that_fit(budget: Budget) -> int:
    """Returns the number of single-process trials that fit the cluster at once.

    Raises:
        StudyError: if not even one fits, instead of waiting for ever.
    """
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    room = int(cpus // budget.cpus_per_worker)
    if budget.gpus_per_worker:
        per_gpu = int(1 / budget.gpus_per_worker) if budget.gpus_per_worker <= 1 else 0
        room = min(room, int(gpus) * per_gpu if per_gpu else int(gpus // budget.gpus_per_worker))
    if room < 1:
        raise StudyError(
            "a trial must fit the cluster for budget.cpus_per_worker and budget.gpus_per_worker, got "
            f"{budget.cpus_per_worker} CPUs and {budget.gpus_per_worker:g} GPUs a trial with {cpus:g} CPUs and "
            f"{gpus:g} GPUs there; lower them or add nodes"
        )
    return room


def workers_that_fit(resources: dict[str, float]) -> int:
    """Returns the number of workers with these resources each that fit the nodes of the cluster at once, if nothing
    else runs.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0.0) / need + 1e-6) for name, need in resources.items()) for node in nodes)
