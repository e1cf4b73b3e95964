"""Storage of a run's checkpoints: a folder or a URI, with files that are replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from supercm_ray.errors import CheckpointError, StorageError, SuperCMError
from supercm_ray.records.files import write_atomically, writing

LAST, BEST, REFUSED = "checkpoint.pt", "best.pt", "checkpoint.refused"
_TRIAL, _TRIAL_BYTES = "trial", 1 << 16


class _Files(Protocol):
    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""

    def prepare(self) -> None:
        """Creates the place where files are written. No-op after the first call."""

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file atomically, once the place is prepared: after a kill at any moment the former or the new
        content is there.
        """

    def remove(self, name: str) -> None:
        """Deletes a file. No-op if there is none."""


class FolderFiles:
    """Files in a folder, which is created once: one that goes away with its disk is not made again elsewhere."""

    def __init__(self, path: Path) -> None:
        """Stores the path of the folder."""
        self._path, self._is_prepared = path, False

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def prepare(self) -> None:
        """Creates the folder. No-op after the first call."""
        if not self._is_prepared:
            with writing(self._path):
                self._path.mkdir(parents=True, exist_ok=True)
            self._is_prepared = True

    def write(self, name: str, content: bytes) -> None:
        """Writes a temporary file, syncs it to the disk, and renames it to `name`."""
        write_atomically(self._path / name, content)

    def remove(self, name: str) -> None:
        """Deletes a file. No-op if there is none."""
        (self._path / name).unlink(missing_ok=True)


class RemoteFiles:
    """Files in a file system of pyarrow or fsspec, such as s3://bucket/path, gs:// or hdfs://."""

    def __init__(self, uri: str) -> None:
        """Connects to the file system.

        Args:
            uri: the URI of the folder.

        Raises:
            CheckpointError: if neither library knows the URI's scheme.
        """
        self._system, self._path = _file_system(uri)

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""
        try:
            with self._system.open_input_stream(f"{self._path}/{name}") as stream:
                content: bytes = stream.readall()
                return content
        except FileNotFoundError:
            return None

    def prepare(self) -> None:
        """Creates the folder."""
        self._system.create_dir(self._path, recursive=True)

    def write(self, name: str, content: bytes) -> None:
        """Writes a temporary file and moves it to `name`; object stores show no unfinished object."""
        partial = f"{self._path}/.{name}.partial"
        with self._system.open_output_stream(partial) as stream:
            stream.write(content)
        self._system.move(partial, f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        """Deletes a file. No-op if there is none."""
        with suppress(FileNotFoundError):
            self._system.delete_file(f"{self._path}/{name}")


class CheckpointStore:
    """The last and the best checkpoint of one run, as bytes. Writing runs in a thread beside training."""

    def __init__(self, place: str | Path) -> None:
        """Opens the storage.

        Args:
            place: a folder or a URI.

        Raises:
            CheckpointError: for a URI of an unknown file system.
        """
        self.place = str(place)
        self._files: _Files = RemoteFiles(self.place) if "://" in self.place else FolderFiles(Path(place))
        self._writer: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def read(self, name: str = LAST) -> bytes | None:
        """Returns the content of a checkpoint, or None if there is none.

        Raises:
            StorageError: if it cannot be read.
        """
        self.wait()
        with self._told("read from"):
            return self._files.read(name)

    def write(self, content: bytes, *names: str) -> None:
        """Starts to write this content under each name, after the previous write has finished.

        Raises:
            StorageError: if the previous write failed, or the place cannot be created.
        """
        self.wait()
        with self._told("written to"):
            self._files.prepare()
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = [self._writer.submit(self._files.write, name, content) for name in names]

    def check_writable(self) -> None:
        """Writes and deletes a small file, so that a location that is not writable is detected at once.

        Raises:
            StorageError: if that fails.
        """
        with self._told("written to"):
            self._files.prepare()
            self._files.write(_TRIAL, os.urandom(_TRIAL_BYTES))  # a full disk takes an empty file
            self._files.remove(_TRIAL)

    def quarantine(self) -> None:
        """Renames a last checkpoint that cannot be used to `checkpoint.refused`, so that the run starts from the
        beginning.
        """
        content = self.read()
        with self._told("written to"):
            if content is not None:
                self._files.prepare()
                self._files.write(REFUSED, content)
                self._files.remove(LAST)

    def clear(self) -> None:
        """Deletes all checkpoints.

        Raises:
            StorageError: if that fails.
        """
        self.remove(LAST, BEST)

    def remove(self, *names: str) -> None:
        """Deletes files; none need be there.

        Raises:
            StorageError: if that fails.
        """
        self.wait()
        with self._told("removed from"):
            for name in names:
                self._files.remove(name)

    def wait(self) -> None:
        """Waits until everything is written.

        Raises:
            StorageError: if a write failed.
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
        """Waits until everything is written, and ends the thread that writes."""
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
