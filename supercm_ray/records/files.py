"""Reading and writing of result files. Files are replaced atomically: after a kill the former or the new content is
there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sqlite_url(path: Path) -> str:
    """Returns SQLAlchemy's URL of a SQLite file, whatever characters its path has."""
    absolute = str(path.resolve())
    if not {"?", "%"} & set(absolute):
        return f"sqlite:///{absolute}"
    from sqlalchemy import URL  # which quotes them in the way that its version reads; a second of imports

    return URL.create("sqlite", database=absolute).render_as_string()


def now_ms() -> int:
    """Returns the time in milliseconds since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file atomically: after a kill at any moment the former or the new content is there."""
    with replaced_atomically(path) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """Yields a path beside this one, which is renamed to it when the block has written it; after an error the former
    file stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_first(path: Path, text: str) -> str:
    """Writes a file unless another process has written it, and returns its content."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(partial, text)
    with suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
    return path.read_text(encoding="utf-8")


def read_text(path: Path) -> str:
    """Returns the text of a file, empty if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
