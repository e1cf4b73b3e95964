"""Reading and writing files of results: replaced atomically, so that a kill leaves the former one or the new one."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def now_ms() -> int:
    """The time in milliseconds since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file: a kill at any moment leaves the former one or the new one."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_first(path: Path, text: str) -> str:
    """Writes a file unless another process wrote it meanwhile, and returns what stands in it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(partial, text)
    with suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
    return path.read_text(encoding="utf-8")


def read_text(path: Path) -> str:
    """The text of a file, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
