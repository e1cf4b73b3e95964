"""The file in a study's folder in which others ask the process that runs it to end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supercm_ray.records.files import read_text, writing
from supercm_ray.records.session import host_name


@dataclass(frozen=True)
class CancelFile:
    """The file `cancel` of a study. It is there, and empty, while the study runs, and is written in place: of a file
    that is there a network's file system asks its server each time it is opened, and of one that is not it does not.
    """

    path: Path

    def prepare(self) -> None:
        """Empties the file, for the process that begins to run the study.

        Raises:
            StorageError: if it cannot be written.
        """
        with writing(self.path):
            self.path.write_text("", encoding="utf-8")

    def read(self) -> str:
        """Returns the name of the host that asks for the end; empty if none does.

        Raises:
            StorageError: if it cannot be read.
            DamagedError: if it is not text.
        """
        return read_text(self.path).strip()

    def ask(self) -> None:
        """Asks for the end.

        Raises:
            StorageError: if the file cannot be written.
        """
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{host_name()}\n")

    def remove(self) -> None:
        """Removes the file, for the process that has run the study."""
        with suppress(OSError):  # of a disk that is gone
            self.path.unlink(missing_ok=True)
