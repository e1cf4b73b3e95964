"""SLURM on hosts of the tests: Debian's slurmctld on one of them, slurmd on others, munge on each."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .hosts import ROOT, Done, Host, Hosts, wait_until

LAUNCHER = ROOT / "launch" / "slurm.sh"
_TOOLS = ("slurmctld", "slurmd", "sbatch", "munged")
_FREEZER = Path("/sys/fs/cgroup/freezer")
_OVER = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={controller}({address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/tmp/munge.socket,cred_expire=5
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/tmp/slurmctld.pid
SlurmdPidFile=/tmp/slurmd.pid
SlurmctldLogFile=/tmp/slurmctld.log
SlurmdLogFile=/tmp/slurmd.log
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
ReturnToService=2
MpiDefault=none
KillWait=30
SlurmdTimeout=20
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
_MUNGE = """
munged --socket=/tmp/munge.socket --key-file=/common/slurm/munge.key --pid-file=/tmp/munged.pid \\
  --log-file=/tmp/munged.log --seed-file=/tmp/munged.seed --force
"""
_NODE = """
mkdir -p /tmp/slurmd
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/freezer
if [ -n "$FREEZER" ]; then
  mkdir -p /tmp/freezer
  mount -t cgroup -o freezer cgroup /tmp/freezer
  mkdir -p "/tmp/freezer/$FREEZER"
  mount --bind "/tmp/freezer/$FREEZER" /sys/fs/cgroup/freezer
  umount /tmp/freezer
fi
slurmd -f /common/slurm/slurm.conf -N "$(hostname)"
"""


def why_no_slurm() -> str:
    """Returns why SLURM cannot be started on this machine; empty if it can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    return f"no {', '.join(missing)} here (Debian: slurmctld, slurmd, slurm-client, munge)" if missing else ""


def has_freezer() -> bool:
    """Whether job steps can be kept in cgroups, as clusters keep them; otherwise they are process groups."""
    return (_FREEZER / "cgroup.procs").exists() and os.access(_FREEZER, os.W_OK)


def _is_removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # processes end late
            Path(folder).rmdir()
    return not group.exists()


@dataclass
class Job:
    """A job, by its number, or a task of an array."""

    slurm: Slurm
    number: int
    task: int | None = None

    @property
    def name(self) -> str:
        """What SLURM calls it."""
        return str(self.number) if self.task is None else f"{self.number}_{self.task}"

    def value(self, key: str) -> str:
        """Returns what `scontrol show job` says, such as of JobState."""
        shown = self.slurm.give("scontrol", "show", "job", "--oneliner", self.name).output
        found = re.search(rf"\b{key}=(\S*)", shown)
        assert found, f"no {key} of job {self.name}: {shown}"
        return found[1]

    @property
    def state(self) -> str:
        return self.value("JobState")

    @property
    def exit_status(self) -> int:
        """The exit status of the job's shell."""
        return int(self.value("ExitCode").split(":")[0])

    @property
    def restarts(self) -> int:
        """How often the job was put into the queue again and started."""
        return int(self.value("Restarts"))

    @property
    def output(self) -> str:
        """What it has printed so far."""
        log = self.slurm.controller.outside(self.value("StdOut"))
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def wait_for(self, *states: str, timeout_s: float = 600) -> None:
        """Waits until it is in one of these states."""
        awaited = {*states, *_OVER}
        try:
            wait_until(lambda: self.state in awaited, f"job {self.name} {states}", timeout_s, pause_s=1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.state}\n{self.output}") from error
        assert self.state in states, f"{self.state} {self.exit_status}\n{self.output}"

    def wait_for_restart(self, number: int, timeout_s: float = 600) -> None:
        """Waits until it runs again after it was put into the queue."""
        wait_until(
            lambda: self.state in _OVER or (self.restarts >= number and self.state == "RUNNING"),
            f"restart {number} of job {self.name}",
            timeout_s,
            pause_s=1,
        )
        assert self.restarts == number, f"{self.state}, {self.restarts} restarts\n{self.output}"

    def wait_for_completion(self) -> None:
        """Waits for its end, which must be a good one."""
        self.wait_for(*_OVER)
        assert (self.state, self.exit_status) == ("COMPLETED", 0), f"{self.state} {self.exit_status}\n{self.output}"

    def near_time_limit(self) -> None:
        """Gives it a time limit that is one to two minutes away."""
        *_, minutes, _ = self.value("RunTime").split(":")
        self.set_time_limit(str(int(minutes) + 2))

    def set_time_limit(self, minutes: str) -> None:
        """Gives it this time limit."""
        self.slurm.give("scontrol", "update", f"JobId={self.name}", f"TimeLimit={minutes}")

    def cancel(self) -> None:
        """Cancels it with `scancel`."""
        self.slurm.give("scancel", self.name)


class Slurm:
    """A controller, where commands are given, and nodes of two CPUs each."""

    def __init__(self, hosts: Hosts, controller: str, *nodes: str) -> None:
        """Starts the hosts, and SLURM on them."""
        self.hosts = hosts
        self.controller, *self.nodes = hosts.up(controller, *nodes)
        self._write_configuration()
        self.controller.exec("sh", "-ec", _MUNGE + "mkdir -p /tmp/slurmctld")
        self.controller.exec("slurmctld", "-f", "/common/slurm/slurm.conf")
        for node in self.nodes:
            self.start(node)
        self.wait_for_nodes()

    def _write_configuration(self) -> None:
        folder = self.hosts.shared / "slurm"
        folder.mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        nodes = [f"NodeName={one.name} NodeAddr={one.address} CPUs=2 RealMemory=4000 Gres=gpu:2" for one in self.nodes]
        (folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                controller=self.controller.name,
                address=self.controller.address,
                proctrack="cgroup" if has_freezer() else "pgid",
                nodes="\n".join(nodes),
            )
        )
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\n")

    def start(self, node: Host) -> None:
        """Starts munge and slurmd on a host that is new, or was switched on again."""
        node.exec("sh", "-ec", _MUNGE + _NODE, FREEZER=self._freezer(node).name if has_freezer() else "")

    def _freezer(self, node: Host) -> Path:
        return _FREEZER / f"supercm-{os.getpid()}-{node.name}"

    def turn_on(self, node: Host) -> None:
        """Turns a node on again."""
        node.on()
        self.start(node)

    def stop(self) -> None:
        """Takes away the cgroups of all nodes, once their hosts are down and their processes have ended."""
        for node in self.nodes:
            wait_until(partial(_is_removed, self._freezer(node)), "cgroups without processes")

    def give(self, *words: str, check: bool = True, **variables: str) -> Done:
        """Gives a command in the shared folder, where the controller is."""
        return self.controller.exec(
            *words, cwd="/common", check=check, SLURM_CONF="/common/slurm/slurm.conf", **variables
        )

    def wait_for_nodes(self) -> None:
        """Waits until every node is idle."""
        idle = {node.name for node in self.nodes}
        wait_until(
            lambda: set(self.give("sinfo", "-hN", "-t", "idle", "-o", "%n").output.split()) == idle,
            f"{idle} idle",
            pause_s=1,
        )

    def submit(self, *words: str, **variables: str) -> Job:
        """Gives a command that submits a job."""
        done = self.give(*words, **variables)
        found = re.search(r"Submitted batch job (\d+)", done.output)
        assert found, done.output
        return Job(self, int(found[1]))

    def processes(self, node: Host) -> str:
        """Returns the command lines of what runs on a node."""
        return node.exec("ps", "-eo", "args").output
