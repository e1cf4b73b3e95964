"""Several hosts on this machine, made of Linux namespaces by `hosts.sh`, to be cut, crashed and switched off.

A host has this machine's files, but folders of its own at /tmp, /root and /dev/shm. Every host sees /common.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType

from studies import listen_to_ctrl_c

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("hosts.sh")
RAY_PORT = 6379
_TOOLS = ("ip", "tc", "unshare", "nsenter", "flock", "pgrep", "setsid")
_NUMBERS = count()


def why_no_hosts() -> str:
    """Returns why hosts cannot be made on this machine; empty if they can."""
    if os.geteuid() != 0:
        return "hosts are made by root alone"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: iproute2, util-linux, procps)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "ip", "link", "add", "type", "bridge"],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else ""


def wait_until(check: Callable[[], object], what: str, timeout_s: float = 300, pause_s: float = 0.2) -> None:
    """Waits until something is so."""
    until = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < until, f"{what}: not within {timeout_s:g} s"
        time.sleep(pause_s)


@dataclass
class Process:
    """A process on a host, with its output, errors included, in a file."""

    host: Host
    popen: subprocess.Popen[bytes]
    log: Path
    pid_file: Path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself, as `kill` on its host does."""
        wait_until(lambda: self.pid_file.exists() and self.pid_file.read_text(), f"the pid of {self.popen.args}")
        self.host.exec("kill", f"-{int(number)}", self.pid_file.read_text().strip())

    def wait(self, timeout_s: float = 400) -> int:
        """Waits for its end and returns its exit status; what does not end is killed, and its output shown."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise AssertionError(f"{self.popen.args} runs for more than {timeout_s:g} s: {self.output}") from None

    def wait_for_output(self, text: str, timeout_s: float = 300) -> None:
        """Waits until it has printed this."""
        until = time.monotonic() + timeout_s
        while text not in self.output:
            assert self.is_running, f"ended with {self.popen.returncode} before {text!r}: {self.output}"
            assert time.monotonic() < until, f"no {text!r} within {timeout_s:g} s: {self.output}"
            time.sleep(0.2)


@dataclass
class Host:
    """One of the hosts."""

    hosts: Hosts
    name: str
    started: list[Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.hosts.script("address", self.name).strip()

    def outside(self, path: str | Path) -> Path:
        """Returns where a file of the host lies on this machine."""
        own = {"/common": self.hosts.shared, "/root": self.hosts.folder / self.name / "home"}
        own |= {"/tmp": self.hosts.folder / self.name / "tmp"}
        for start, folder in own.items():
            if Path(path).is_relative_to(start):
                return folder / Path(path).relative_to(start)
        return Path(path)

    def exec(self, *words: str, cwd: str = "/root", check: bool = True, **variables: str) -> Done:
        """Gives a command on the host and waits for it."""
        log = self.hosts.new_log(f"{self.name}-{Path(words[0]).name}")
        with log.open("wb") as file:  # and no pipe, which a daemon would hold open
            code = subprocess.call(
                self.hosts.words(self, words, cwd, variables),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.hosts.environment(),
                preexec_fn=listen_to_ctrl_c,
            )
        done = Done(code, log.read_text(encoding="utf-8", errors="replace"))
        assert not check or code == 0, f"{' '.join(words)} on {self.name} ended with {code}: {done.output}"
        return done

    def start(self, *words: str, cwd: str = "/root", **variables: str) -> Process:
        """Gives a command on the host, in the background."""
        log = self.hosts.new_log(f"{self.name}-{Path(words[0]).name}")
        pid = f"/tmp/{log.stem}.pid"
        noting = ("sh", "-c", f'echo $$ >{pid}; exec "$@"', "sh", *words)
        with log.open("wb") as file:
            popen = subprocess.Popen(
                self.hosts.words(self, noting, cwd, variables),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.hosts.environment(),
                start_new_session=True,
                preexec_fn=listen_to_ctrl_c,  # noqa: PLW1509 (the tests start no threads)
            )
        self.started.append(Process(self, popen, log, self.outside(pid)))
        return self.started[-1]

    def supercm_ray(self, *words: str, cwd: str = "/root", check: bool = True, **variables: str) -> Done:
        """Gives a command of this package and waits for it."""
        return self.exec("python", "-m", "supercm_ray.cli", *words, cwd=cwd, check=check, **variables)

    def start_supercm_ray(self, *words: str, cwd: str = "/root", **variables: str) -> Process:
        """Gives a command of this package, in the background."""
        return self.start("python", "-m", "supercm_ray.cli", *words, cwd=cwd, **variables)

    def start_ray_head(self, *, num_cpus: int = 1, dashboard: bool = False, **variables: str) -> None:
        """Starts the head of a Ray cluster."""
        words = ("--head", f"--port={RAY_PORT}", f"--include-dashboard={str(dashboard).lower()}")
        self._start_ray(words, num_cpus, variables)

    def start_ray_node(self, head: Host, *, num_cpus: int = 1, **variables: str) -> None:
        """Joins the Ray cluster of a head."""
        self._start_ray((f"--address={head.ray_address}",), num_cpus, variables)

    def _start_ray(self, words: Sequence[str], num_cpus: int, variables: Mapping[str, str]) -> None:
        """Starts Ray; what is left of one that has lost its head is ended first, and so is its zombies' work."""
        self.exec("ray", "stop", "--force", check=False)  # on a host it sees that host alone
        size = [f"--num-cpus={num_cpus}", "--object-store-memory=150000000", "--disable-usage-stats"]
        self.exec("ray", "start", f"--node-ip-address={self.address}", *size, *words, **variables)

    @property
    def ray_address(self) -> str:
        """The address of the Ray cluster whose head this host is."""
        return f"{self.address}:{RAY_PORT}"

    def cut(self) -> None:
        """Pulls its cable."""
        self.hosts.script("cut", self.name)

    def heal(self) -> None:
        """Puts the cable back."""
        self.hosts.script("heal", self.name)

    def off(self) -> None:
        """Takes its power; peers hear nothing more."""
        self.hosts.script("off", self.name)

    def crash(self) -> None:
        """Ends every process on it; peers get resets."""
        self.hosts.script("crash", self.name)

    def on(self) -> None:
        """Starts it again, with its disk as it was."""
        self.hosts.script("on", self.name)


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit status, and what it printed, errors included."""

    returncode: int
    output: str


class Hosts:
    """Hosts on one switch; the block ends them."""

    def __init__(
        self,
        folder: Path,
        *,
        token: str | None = None,
        shared: Sequence[str] = (),
        debian_names: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Starts no host yet.

        Args:
            folder: where their disks lie.
            token: of their Ray, in each one's ~/.ray/auth_token; without one Ray asks for none.
            shared: folders that hosts see besides Python, this package and /common, as HOSTS_SHARED of the script.
            debian_names: whether /etc/hosts has each host's own name at 127.0.1.1.
            variables: environment of all commands.
        """
        self.folder = folder
        self.token = token
        self._shared = [sys.base_prefix, sys.prefix, str(ROOT), *shared]
        self._debian_names = debian_names
        self._variables = dict(variables or {})
        self._hosts: dict[str, Host] = {}

    @classmethod
    def with_token(cls, folder: Path, **options: object) -> Hosts:
        """Hosts with a fresh token."""
        return cls(folder, token=secrets.token_hex(32), **options)  # type: ignore[arg-type]

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    @property
    def shared(self) -> Path:
        """The folder on this machine that every host sees as /common."""
        return self.folder / "common"

    def up(self, *names: str) -> list[Host]:
        """Starts hosts, and writes the token to each one's disk."""
        self.script("up", *names)
        self._hosts |= {name: Host(self, name) for name in names if name not in self._hosts}
        for name in names if self.token else ():
            file = self._hosts[name].outside("/root/.ray/auth_token")
            file.parent.mkdir(exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(self.token or "")
        return [self._hosts[name] for name in names]

    def down(self) -> None:
        """Ends the hosts and what runs on them."""
        self.script("down")
        for host in self._hosts.values():
            for process in host.started:
                process.popen.wait(60)

    def script(self, *words: str) -> str:
        """Gives a command of `hosts.sh`."""
        done = subprocess.run([SCRIPT, *words], check=False, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"hosts.sh {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The environment of `hosts.sh`; commands on hosts get PATH alone of it."""
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"HOSTS_DIR": str(self.folder), "HOSTS_SHARED": ":".join(self._shared), "HOSTS_SHM": "400m"}
        return {"PATH": path, **own, **({"HOSTS_DEBIAN": "1"} if self._debian_names else {})}

    def words(self, host: Host, words: Sequence[str], cwd: str, variables: Mapping[str, str]) -> list[str]:
        """The words of a command on a host, as this machine gives it."""
        settings = {
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token" if self.token else "disabled",
            **self._variables,
            **variables,
        }
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return [str(SCRIPT), "exec", host.name, "env", f"--chdir={cwd}", *pairs, *words]

    def new_log(self, name: str) -> Path:
        """A file for the output of a command."""
        folder = self.folder / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{next(_NUMBERS):03}-{name}.log"
