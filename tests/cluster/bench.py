"""A Ray cluster on several hosts with studies to run on it, and MLflow's server on a host that is no part of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import yaml

from supercm_ray.records import StudyFolder
from supercm_ray.search import StudyView

from .check import check_closed, check_study
from .hosts import Done, Host, Hosts, Process, wait_until

STUDY = {
    "base": {
        "data": {"name": "digits", "label_ratio": 0.1},
        "model": {"options": {"channels": [4, 8]}},
        "training": {"num_epochs": 3, "steps_per_epoch": 3, "learning_rate": 1e-2, "device": "cpu"},
    },
    "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
    "budget": {"num_trials": 5},
    "sampler": {"name": "random", "seed": 1},
    "scheduler": {"name": "none"},
    "num_seeds": 1,
}
DESK = "desk"
QUICK = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
"""Environment of a head that takes a node for lost within 20 s, where Ray's own settings take a minute or more."""
_NUMBERS = count()
_MLFLOW_PORT = 5000


class Bench:
    """Hosts that have joined one Ray cluster, the nodes, and a desk that has not."""

    def __init__(self, hosts: Hosts) -> None:
        """Starts the desk with MLflow's server."""
        self.hosts = hosts
        self.nodes: list[Host] = []
        self.name = ""
        (self.desk,) = hosts.up(DESK)
        self._mlflow = self._start_mlflow()

    @property
    def head(self) -> Host:
        return self.nodes[0]

    def start(self, head: str, *others: str) -> None:
        """Starts hosts with Ray, the first as its head."""
        self.nodes = self.hosts.up(head, *others)
        self.restore()

    def _start_mlflow(self) -> Process:
        where = ["--host", self.desk.address, "--port", str(_MLFLOW_PORT), "--workers", "1"]
        what = ["--backend-store-uri", "sqlite:////root/mlflow.db", "--artifacts-destination", "/root/artifacts"]
        return self.desk.start("mlflow", "server", *where, *what, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")

    def restore(self) -> None:
        """Has every host on, on the network and with Ray, whatever a test did to it; nodes of a lost head join anew."""
        for host in (self.desk, *self.nodes):
            host.on()
            host.heal()
        if not self._mlflow.is_running:
            self._mlflow = self._start_mlflow()
        lost_head = not _runs("gcs_server", self.head)
        if lost_head:
            self.head.start_ray_head(**QUICK)
        for node in self.nodes[1:]:
            if lost_head or not _runs("raylet", node):
                node.start_ray_node(self.head)
        self.wait_for_nodes()
        self.wait_for_mlflow()

    def wait_for_nodes(self) -> None:
        """Waits until all hosts are nodes of the cluster."""
        wait_until(lambda: self.alive() == {host.address for host in self.nodes}, "all nodes", pause_s=1)

    def wait_for_mlflow(self) -> None:
        """Waits until MLflow's server answers."""
        ask = ("curl", "-sf", f"{self.mlflow_uri}/health")
        wait_until(lambda: self.desk.exec(*ask, check=False).returncode == 0, "MLflow", pause_s=1)

    def alive(self) -> set[str]:
        """The addresses of the nodes that the cluster counts as alive."""
        found = self.head.exec("python", "-c", _ALIVE, RAY_ADDRESS=self.head.ray_address, check=False)
        return set(found.output.split()) if found.returncode == 0 else set()

    @property
    def mlflow_uri(self) -> str:
        return f"http://{self.desk.address}:{_MLFLOW_PORT}"

    @property
    def database(self) -> Path:
        """The file behind MLflow's server, on this machine."""
        return self.desk.outside("/root/mlflow.db")

    def new_study(self, **changes: object) -> None:
        """Writes another study to the shared folder."""
        self.name = f"study{next(_NUMBERS)}"
        self.write_study(**changes)

    def write_study(self, **changes: object) -> None:
        """Replaces the study file, with these keys changed."""
        text = yaml.safe_dump({**STUDY, "name": self.name, **changes})
        (self.hosts.shared / f"{self.name}.yaml").write_text(text)

    @property
    def folder(self) -> Path:
        """The study's folder, on this machine."""
        return self.hosts.shared / "results" / self.name

    @property
    def records(self) -> StudyFolder:
        return StudyFolder.existing(self.folder)

    @property
    def file(self) -> str:
        """The study file, as hosts see it."""
        return f"/common/{self.name}.yaml"

    @property
    def variables(self) -> dict[str, str]:
        """Environment of a command that runs on the cluster."""
        return {"RAY_ADDRESS": self.head.ray_address, "MLFLOW_TRACKING_URI": self.mlflow_uri}

    def start_tune(self, *words: str, host: Host | None = None, **variables: str) -> Process:
        """Gives the command `tune` on a host, by default the head, in the background."""
        given = {**self.variables, **variables}
        return (host or self.head).start_supercm_ray("tune", self.file, *words, cwd="/common", **given)

    def tune(self, *words: str, host: Host | None = None, **variables: str) -> str:
        """Gives the command `tune`, which must succeed, and returns what it printed."""
        process = self.start_tune(*words, host=host, **variables)
        assert process.wait() == 0, process.output
        return process.output

    def give(self, *words: str, host: Host | None = None, check: bool = True, **variables: str) -> Done:
        """Gives another command in the shared folder and waits for it."""
        given = {**self.variables, **variables}
        return (host or self.head).supercm_ray(*words, cwd="/common", check=check, **given)

    def wait_for(self, process: Process, check: Callable[[StudyFolder], object], what: str) -> None:
        """Waits until a study that a process runs has come so far."""

        def has_come() -> bool:
            assert process.is_running, f"ended with {process.popen.returncode} before {what}: {process.output}"
            return (self.folder / "study.json").exists() and bool(check(self.records))

        wait_until(has_come, what, pause_s=1)

    @staticmethod
    def wait_for_work(process: Process, *hosts: Host) -> None:
        """Waits until each of these hosts has trained for a command that a process runs."""
        waiting = list(hosts)

        def have_worked() -> bool:
            names = ", ".join(host.name for host in waiting)
            assert process.is_running, f"ended with {process.popen.returncode} before {names} worked: {process.output}"
            waiting[:] = [host for host in waiting if not works(host)]
            return not waiting

        wait_until(have_worked, "work on each host", pause_s=1)

    def wait_for_trials(self, process: Process, number: int) -> None:
        """Waits until so many trials have ended well."""
        self.wait_for(
            process,
            lambda folder: sum(record.status in ("complete", "pruned") for record in folder.runs("trial")) >= number,
            f"{number} trials",
        )

    def check_study(self, folder: Path | None = None) -> StudyView:
        """Records, Optuna and MLflow agree, and the study is complete."""
        return check_study(folder or self.folder, self.database)

    def check_closed(self, *, preempted: bool) -> None:
        """Records and MLflow's runs of an interrupted study are closed."""
        check_closed(self.folder, self.database, preempted=preempted)


def works(host: Host) -> bool:
    """Returns whether a process of Ray on a host has something to do."""
    found = host.exec("pgrep", "-af", "ray::", check=False).output.splitlines()
    return any(not line.endswith(("::IDLE", "::look", "Agent")) and "pgrep" not in line for line in found)


def _runs(name: str, host: Host) -> bool:
    return host.exec("pgrep", "-x", name, check=False).returncode == 0


_ALIVE = """
import logging, ray
ray.init(logging_level=logging.ERROR, log_to_driver=False)
print(*(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
"""
