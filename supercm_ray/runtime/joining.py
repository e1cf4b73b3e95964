"""Which Ray a command runs on.

| RAY_ADDRESS | besides | the command |
|---|---|---|
| `HOST:PORT`, `auto` | | joins that cluster |
| `local` | | starts Ray on this machine alone |
| not set | a SLURM job of several nodes, or one with a cluster at hand | is refused with both remedies |
| not set | a cluster at hand | joins it, and the first line says so |
| not set | | starts Ray on this machine alone, and the first line says so |

A cluster is at hand if this user, or one in whose name the system runs, has given `ray start` on this node and it
answers: its address lies in the file that Ray documents for `ray.init`, which joins by the same rule. Under SLURM that
cluster may be another job's, so that the command joins none that it was not given.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from supercm_ray.errors import ClusterError

LOCAL = "local"
_ANSWER_TIMEOUT_S = 10.0


def address_to_join(environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns the address of the cluster to join, or None to start Ray on this machine.

    Raises:
        ClusterError: if it is not clear which is wanted, or nothing answers at RAY_ADDRESS.
    """
    given = environ.get("RAY_ADDRESS")
    if given == LOCAL:
        return None
    if given:
        return _answering(given, environ)
    at_hand = cluster_at_hand(environ)
    if "SLURM_JOB_ID" in environ:
        _refuse_to_guess(at_hand, environ)
    return at_hand


def cluster_at_hand(environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns the address of the cluster that was started last by `ray start` on this node, if it answers."""
    temporary = environ.get("RAY_TMPDIR") or environ.get("TMPDIR") or "/tmp"  # noqa: S108 (Ray's own default)
    path = Path(temporary) / "ray" / "ray_current_cluster"
    try:
        if path.stat().st_uid not in (0, os.geteuid()):
            return None
        address = path.read_text().strip()
    except OSError:
        return None
    return address if address and _refusal(address) is None else None


def _answering(given: str, environ: Mapping[str, str]) -> str:
    if given == "auto":
        return cluster_at_hand(environ) or given
    if "//" in given:
        raise ClusterError(
            f"RAY_ADDRESS must be HOST:PORT, auto or local, got {given!r}: the process that gives a command writes all "
            "records and must be on a node of the cluster; give the command there, or submit it with `ray job submit`"
        )
    reason = _refusal(given)
    if reason is not None:
        raise ClusterError(
            f"a Ray cluster must answer at RAY_ADDRESS, got {given!r}: {reason}; start it, or set RAY_ADDRESS=local to "
            "run on this machine alone"
        )
    return given


def _refusal(address: str) -> str | None:
    """Returns why no connection can be made to an address, or None."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return "it is no HOST:PORT"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def _refuse_to_guess(at_hand: str | None, environ: Mapping[str, str]) -> None:
    num_nodes = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES") or "1"
    if num_nodes != "1":
        raise ClusterError(
            f"a SLURM job of {num_nodes} nodes must say where to run, got no RAY_ADDRESS; submit the study with "
            "launch/slurm.sh, which starts Ray on all of them, or set RAY_ADDRESS=local to run on this node alone"
        )
    if at_hand is not None:
        raise ClusterError(
            f"a SLURM job must say where to run if Ray answers on its node, got no RAY_ADDRESS and a cluster at "
            f"{at_hand}, which may be another job's; set RAY_ADDRESS={at_hand} to join it, or RAY_ADDRESS=local to run "
            "on this node alone"
        )
