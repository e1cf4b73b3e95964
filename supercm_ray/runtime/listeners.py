"""What listens on this machine for Ray, read from the system."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_MODE = b"RAY_AUTH_MODE="
_LISTENING = "0A"
_OF_RAY = re.compile(rb"/ray/|^ray(::|let)|\0ray\0|/raylet|/gcs_server")
_NAMES = ("gcs_server", "raylet", "dashboard/agent", "dashboard", "runtime_env", "ray::", "monitor", "client")


@dataclass(frozen=True, order=True)
class Listener:
    """A process of Ray that takes connections.

    Attributes:
        process: what it is, such as `gcs_server`.
        address: the address on which it listens; `0.0.0.0` or `::` for every interface.
        port: the port.
    """

    process: str
    address: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it, unless a firewall is in between."""
        return not ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        """Returns process, address and port, with `*` for every interface."""
        address = ipaddress.ip_address(self.address)
        shown = "*" if address.is_unspecified else f"[{address}]" if address.version == 6 else str(address)
        return f"{self.process} {shown}:{self.port}"


def ray_listeners(proc: Path = PROC) -> list[Listener]:
    """Returns what listens for Ray on this machine, as far as this user may know.

    Args:
        proc: where the system tells of its processes.
    """
    sockets = dict(_listening(proc))
    found = set()
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            command = (process / "cmdline").read_bytes()
            if _OF_RAY.search(command):
                inodes = {link.readlink().name for link in (process / "fd").iterdir()}
                found |= {Listener(_name(command), *sockets[inode]) for inode in inodes & sockets.keys()}
    return sorted(found)


def has_token(gcs_address: str, proc: Path = PROC) -> bool | None:
    """Returns whether Ray's process on this machine that belongs to a cluster was started in token mode; None if it was
    not told a mode, so that it looks for a token's file, if it belongs to another user, or if there is none.

    Args:
        gcs_address: the address of the cluster's head.
        proc: where the system tells of its processes.
    """
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode(errors="replace")).name == "raylet" and gcs_address in str(words):
                environ = (process / "environ").read_bytes().split(b"\0")
                return next((entry == b"RAY_AUTH_MODE=token" for entry in environ if entry.startswith(_MODE)), None)
    return None


def _name(command: bytes) -> str:
    text = command.decode(errors="replace")
    return next((name.rstrip(":") for name in _NAMES if name in text), "ray")


def _listening(proc: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yields `socket:[INODE]` with the address and the port."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    address, _, port = fields[1].partition(":")
                    yield f"socket:[{fields[9]}]", (_address(address), int(port, 16))


def _address(text: str) -> str:
    """Returns an address as it is written, from the system's hexadecimal words."""
    packed = bytes.fromhex(text)
    words = b"".join(packed[i : i + 4][::-1] for i in range(0, len(packed), 4))
    found = ipaddress.ip_address(words)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
