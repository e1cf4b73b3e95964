"""What the processes of a command do, read from the system."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def below(root: int) -> dict[int, str]:
    """Process ids and command lines of a process and its descendants."""
    listed = subprocess.run(["ps", "-ewwo", "pid=,ppid=,cmd="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    found = {str(root)}
    for _ in range(6):
        found |= {pid for pid, parent, _ in rows if parent in found}
    return {int(pid): command for pid, _, command in rows if pid in found}


def trial_runners(root: int) -> list[int]:
    """Process ids of the workers that train."""
    return [pid for pid, command in below(root).items() if re.match(r"ray::(ResourceTrainable|TrialRunner)", command)]


def listening_addresses(root: int) -> set[str]:
    """The addresses on which a process and its descendants take connections."""
    inodes = {inode for pid in below(root) for inode in _sockets(pid)}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(_address(fields[1].split(":")[0]))
    return addresses


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            match = re.match(r"socket:\[(\d+)\]", str(link.readlink()))
            found |= {match[1]} if match else set()
    except OSError:
        pass
    return found


def _address(text: str) -> str:
    octets = bytes.fromhex(text)
    if len(octets) == 4:
        return ".".join(str(octet) for octet in reversed(octets))
    words = b"".join(octets[i : i + 4][::-1] for i in range(0, 16, 4))
    if words[:12] == bytes(10) + b"\xff\xff":
        return ".".join(str(octet) for octet in words[12:])
    return words.hex(":", 2)
