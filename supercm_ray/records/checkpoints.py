"""Where a run's checkpoints lie: a folder, or a place that a URI names, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from supercm_ray.errors import CheckpointError, StorageError, SuperCMError
from supercm_ray.records.files import write_atomically

LAST, BEST, REFUSED = "checkpoint.pt", "best.pt", "checkpoint.refused"
_TRIAL = "trial"


class _Files(Protocol):
    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file: a kill at any moment leaves the former one or the new one."""

    def remove(self, name: str) -> None:
        """Takes a file away, if there is one."""


class FolderFiles:
    """Files of a folder, which is made when it is first written to."""

    def __init__(self, path: Path) -> None:
        """Args: the folder."""
        self._path = path

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes beside the file and puts that in its place once it is on the disk."""
        self._path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path / name, content)

    def remove(self, name: str) -> None:
        """Takes a file away, if there is one."""
        (self._path / name).unlink(missing_ok=True)


class RemoteFiles:
    """Files of a file system of pyarrow or fsspec, such as s3://bucket/path, gs:// or hdfs://."""

    def __init__(self, uri: str) -> None:
        """Args: the URI of the folder.

        Raises:
            CheckpointError: where neither library knows what it names.
        """
        self._system, self._path = _file_system(uri)

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""
        try:
            with self._system.open_input_stream(f"{self._path}/{name}") as stream:
                content: bytes = stream.readall()
                return content
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes beside the file and moves that to its place; object stores let no unfinished object be seen."""
        self._system.create_dir(self._path, recursive=True)
        partial = f"{self._path}/.{name}.partial"
        with self._system.open_output_stream(partial) as stream:
            stream.write(content)
        self._system.move(partial, f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        """Takes a file away, if there is one."""
        with suppress(FileNotFoundError):
            self._system.delete_file(f"{self._path}/{name}")


class CheckpointStore:
    """The last and the best checkpoint of one run, as bytes. Writing goes on while training does."""

    def __init__(self, place: str | Path) -> None:
        """Args: a folder or a URI.

        Raises:
            CheckpointError: for a URI of a file system that is not known.
        """
        self.place = str(place)
        self._files: _Files = RemoteFiles(self.place) if "://" in self.place else FolderFiles(Path(place))
        self._writer: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def read(self, name: str = LAST) -> bytes | None:
        """The content of a checkpoint, or None where there is none.

        Raises:
            StorageError: where it cannot be read.
        """
        self.wait()
        with self._told("read from"):
            return self._files.read(name)

    def write(self, content: bytes, *names: str) -> None:
        """Begins to write this content under each name, after what was begun before has come to its end.

        Raises:
            StorageError: where that could not be written.
        """
        self.wait()
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = [self._writer.submit(self._files.write, name, content) for name in names]

    def check_writable(self) -> None:
        """Writes a small file and takes it away again, so that a place that cannot be used is known at once.

        Raises:
            StorageError: where that is not possible.
        """
        with self._told("written to"):
            self._files.write(_TRIAL, b"")
            self._files.remove(_TRIAL)

    def quarantine(self) -> None:
        """Renames a last checkpoint that nothing can be done with to `checkpoint.refused`: the run starts afresh."""
        content = self.read()
        if content is not None:
            self._files.write(REFUSED, content)
            self._files.remove(LAST)

    def clear(self) -> None:
        """Takes all checkpoints away."""
        self.wait()
        for name in (LAST, BEST):
            self._files.remove(name)

    def wait(self) -> None:
        """Waits until everything is written.

        Raises:
            StorageError: where something could not be written.
        """
        pending, self._pending = self._pending, []
        with self._told("written to"):
            for future in pending:
                future.result()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except SuperCMError:
            raise
        except Exception as error:  # each file system has exceptions of its own
            raise StorageError(
                f"a checkpoint must be {what} {self.place}, got {error}; make room or access there, then give the "
                "same command again"
            ) from error

    def close(self) -> None:
        """Waits, and ends the thread that writes."""
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.shutdown()


def _file_system(uri: str) -> tuple[Any, str]:
    import pyarrow  # seconds of import, for remote places alone
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(uri)  # type: ignore[no-any-return]
    except (pyarrow.ArrowInvalid, OSError) as unknown:
        try:
            import fsspec

            system, path = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise CheckpointError(
                "training.storage_path must be a folder or a URI that pyarrow or fsspec knows, "
                f"got {uri!r}: {unknown}; correct it, or install the fsspec package for it"
            ) from error
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path
