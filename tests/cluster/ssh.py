"""Hosts that are reached by ssh, with keys that exist for one test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .hosts import ROOT, Host, Hosts, Process, wait_until

SSHD = "/usr/sbin/sshd"
_SERVER = f"""
HostKey /common/ssh/key
AuthorizedKeysFile /common/ssh/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
SetEnv PYTHONPATH={ROOT} PYTHONWARNINGS=ignore OMP_NUM_THREADS=1
"""
_CLIENT = """
IdentityFile /common/ssh/key
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
"""


def why_no_ssh() -> str:
    """Returns why there is no ssh on this machine; empty if there is."""
    missing = [tool for tool in ("ssh", "ssh-keygen", SSHD) if shutil.which(tool) is None]
    return f"no {', '.join(missing)} here (Debian: openssh-server, openssh-client)" if missing else ""


def write_keys(hosts: Hosts) -> None:
    """Makes the key by which hosts reach each other, and the settings of client and server."""
    folder = hosts.shared / "ssh"
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    (folder / "sshd_config").write_text(_SERVER)
    (folder / "ssh_config").write_text(_CLIENT)
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it


def start_sshd(host: Host) -> None:
    """Starts a server of ssh on a host."""
    host.start(SSHD, "-D", "-e", "-f", "/common/ssh/sshd_config")
    wait_until(lambda: host.exec(*SSH, host.name, "true", check=False).returncode == 0, f"sshd on {host.name}")


SSH = ("ssh", "-F", "/common/ssh/ssh_config")


def launch(host: Host, *words: str, **variables: str) -> Process:
    """Gives the command `launch/hosts.sh` on a host, in the shared folder."""
    small = "--object-store-memory=150000000"
    options = ("--cpus", "1", "--ray", small)
    given = {"SUPERCM_SSH": " ".join(SSH), **variables}
    return host.start(str(ROOT / "launch/hosts.sh"), *options, *words, cwd="/common", **given)
