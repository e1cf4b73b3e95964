"""Reading and writing of result files: the one place that turns what the disk says into one line.

Files are replaced atomically: after a kill the former or the new content is there.
"""

from __future__ import annotations

import errno
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supercm_ray.errors import DamagedError, StorageError, SuperCMError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_TRIAL_BYTES = 1 << 20


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


@contextmanager
def reading(path: Path, remedy: str = "put it back from a copy") -> Iterator[None]:
    """Turns any error of reading a file into one line.

    Args:
        path: path of the file.
        remedy: what to do if the file is damaged.

    Raises:
        StorageError: if the file cannot be read.
        DamagedError: if its content is not what was written.
    """
    try:
        yield
    except SuperCMError:
        raise
    except (EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, reason_of(error), remedy) from error
    except (OSError, NotImplementedError, RecursionError, MemoryError) as error:
        raise _storage_error(path, "read", error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns any error of the disk while a file is written into one line.

    Raises:
        StorageError: if the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(path, "written", error) from error


def damaged(path: Path, got: str, remedy: str) -> DamagedError:
    """Returns the error of a file that is not as it was written."""
    return DamagedError(f"{path} must be as it was written, got {got}; {remedy}")


def reason_of(error: BaseException) -> str:
    """Returns an error as one line."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    line = said.splitlines()[0] if said else type(error).__name__
    return f"no {line}" if isinstance(error, KeyError) else line


def _storage_error(path: Path, done: str, error: Exception) -> StorageError:
    code = error.errno if isinstance(error, OSError) else None
    remedy = "see that the folder is there and its disk works"
    if code in _NO_ROOM:
        remedy = "make room there"
    elif code in _NO_ACCESS:
        remedy = "give access to it"
    return StorageError(
        f"{path} must be {done}, got: {reason_of(error)}; {remedy}, then give the same command again, or name another "
        "folder with --results"
    )


def check_writable(folder: Path) -> None:
    """Creates a folder if need be, and writes and deletes a file of a megabyte in it, since a full disk takes names.

    Raises:
        StorageError: if that fails.
    """
    path = folder / f".{os.getpid()}.trial"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                file.write(os.urandom(_TRIAL_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file atomically: after a kill at any moment the former or the new content is there.

    Raises:
        StorageError: if it cannot be written.
    """
    encoded = content.encode("utf-8") if isinstance(content, str) else content
    with writing(path), replaced_atomically(path) as partial:
        partial.write_bytes(encoded)


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
        with suppress(OSError):  # what failed is told, not what followed from it
            partial.unlink(missing_ok=True)
        raise


def write_first(path: Path, text: str) -> str:
    """Writes a file unless another process has written it, and returns its content.

    Raises:
        StorageError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(partial, text)
    with writing(path):
        try:
            path.hardlink_to(partial)
            partial.unlink()
        except FileExistsError:
            partial.unlink()
        except OSError:  # a file system without links
            partial.replace(path)
    return read_text(path)


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file, which is created if there is none.

    Raises:
        StorageError: if it cannot be written; a part of the line may be there.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_text(path: Path) -> str:
    """Returns the text of a file, empty if there is none.

    Raises:
        StorageError: if it cannot be read.
        DamagedError: if it is not text.
    """
    with reading(path):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""


def read_end(path: Path, num_bytes: int) -> tuple[str, bool]:
    """Returns the last whole lines of a file within so many bytes, and whether they are all of it; no text if there is
    no file. Bytes that are no text are replaced.

    Raises:
        StorageError: if it cannot be read.
    """
    with reading(path):
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - num_bytes))
                content = file.read()
        except FileNotFoundError:
            return "", True
    text, is_whole = content.decode("utf-8", "replace"), size <= num_bytes
    return (text if is_whole else text.partition("\n")[2]), is_whole


def read_tree(path: Path, remedy: str) -> dict[str, object] | None:
    """Returns the JSON object in a file, or None if there is no file.

    Raises:
        StorageError: if it cannot be read.
        DamagedError: if it holds anything else.
    """
    with reading(path, remedy):
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if not isinstance(tree, dict):
            raise TypeError(f"a {type(tree).__name__}")
        return tree


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Replaces an npz file.

    Raises:
        StorageError: if it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # its one flag is all that is typed
    write_atomically(path, content.getvalue())


def read_arrays(path: Path, remedy: str) -> dict[str, npt.NDArray[np.generic]]:
    """Returns the arrays in an npz file.

    Raises:
        StorageError: if it cannot be read.
        DamagedError: if there is none, or it holds anything else.
    """
    with reading(path, remedy):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ValueError("no such file") from None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
