"""The folder of a study on disk: the records that Optuna's storage, trackers and reports are made from.

    <results>/<study>/
        study.json               identity of the study
        session.json             who ran it last, where, and how that ended
        lock                     host and process id of who runs it now
        log.txt                  what happened, and what was warned of
        cancel                   where others write that it is to end
        study.yaml               the study file as resolved
        data.json                what was found in the data: classes, counts, notes
        optuna.db                Optuna's storage of the trials, rebuilt from the records if it is lost
        trials/0000/             one folder for each trial: run.json, metrics.jsonl, checkpoint.pt, splits.npz
        candidates/<name>/       under num_candidates one folder for each candidate's seed: the same files
        finalists/<name>/        one folder for each finalist: the same files, and test_predictions.npz
        report.html, table.json, plots/
        predictions.csv          where there is no test split: those of the best finalist for unlabeled samples

Files are replaced atomically or appended by the line, so that a kill at any moment loses at most an unfinished line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from supercm_ray.errors import StorageError, StudyError
from supercm_ray.records.cancel_file import CancelFile
from supercm_ray.records.data_summary import DataSummary
from supercm_ray.records.digests import check_digest, with_digest
from supercm_ray.records.files import (
    check_writable,
    damaged,
    read_text,
    read_tree,
    reading,
    sqlite_url,
    write_atomically,
    write_first,
    writing,
)
from supercm_ray.records.lock import locked
from supercm_ray.records.run_folder import Kind, RunFolder, RunRecord, RunView
from supercm_ray.records.session import Session, SessionNode, this_machine
from supercm_ray.records.session_file import SessionFile

_REMEDY = "put it back from a copy, or move the folder away, and the study begins anew"


@dataclass(frozen=True)
class Marker:
    """A file that is there wherever a storage is shared with the process that runs the study.

    Attributes:
        home: `this_machine` of that process.
    """

    path: Path
    study_id: str
    home: str

    def write(self) -> None:
        """Writes the file, unless it is there.

        Raises:
            StorageError: if it cannot be written.
        """
        if not self.is_present():
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"study_id": self.study_id}))

    def is_present(self) -> bool:
        """Returns whether this process sees the file."""
        try:
            return self.study_id in self.path.read_text(encoding="utf-8")
        except OSError:
            return False

    def check_kept(self) -> None:
        """Checks that the storage is still there on the machine of the process that runs the study.

        Raises:
            StorageError: if it is not, as after the loss of a disk, whose folders are not made again elsewhere.
        """
        if self.home == this_machine() and not self.is_present():
            raise _absent(self.path)


def _absent(path: Path) -> StorageError:
    return StorageError(
        f"{path} must be there, got no such file; see that the folder is there and its disk works, then give the same "
        "command again"
    )


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study, with the identity under which trackers know it."""

    path: Path
    study_id: str
    identity: str

    @classmethod
    def open(cls, results: Path, name: str, identity: str) -> StudyFolder:
        """Opens the folder of a study, or creates it, and checks that it can be written.

        Raises:
            StudyError: if the folder holds a study with another base, space or objective, or cannot be used.
        """
        path = results / name
        try:
            check_writable(path)
            folder = cls._read(path) or cls._create(path, identity)
        except StorageError as error:  # nothing has been started yet
            raise StudyError(str(error)) from error
        cls.check_identity(path, identity)
        return folder

    @classmethod
    def check_identity(cls, path: Path, identity: str) -> None:
        """Checks that a folder has this study or none, without creating anything.

        Raises:
            StudyError: if it has another one.
        """
        if (path / "study.json").is_file() and cls.existing(path).identity != identity:
            raise StudyError(
                f"the study must be the one that {path} was begun with, got another base, space, objective, sampler, "
                "scheduler, enqueued_trials, baseline or num_candidates; give it another `name`, or move that folder "
                "away"
            )

    @classmethod
    def existing(cls, path: Path) -> StudyFolder:
        """Opens a folder to read it.

        Raises:
            StudyError: if it holds no study.
        """
        folder = cls._read(path)
        if folder is None:
            raise StudyError(
                f"a study must have been begun in {path}, got no study.json there; run `supercm-ray tune` first"
            )
        return folder

    @classmethod
    def _create(cls, path: Path, identity: str) -> StudyFolder:
        file = path / "study.json"
        if any(path.glob("*/*/run.json")):
            raise damaged(file, "no such file beside the runs of a study", _REMEDY)
        write_first(file, json.dumps(with_digest({"study_id": os.urandom(8).hex(), "identity": identity})))
        folder = cls._read(path)
        assert folder is not None
        return folder

    @classmethod
    def _read(cls, path: Path) -> StudyFolder | None:
        file = path / "study.json"
        tree = read_tree(file, _REMEDY)
        if tree is None:
            return None
        check_digest(tree, file, _REMEDY)
        with reading(file, _REMEDY):
            study_id, identity = str(tree["study_id"]), str(tree["identity"])
        if not re.fullmatch(r"[\w-]+", study_id):
            raise damaged(file, f"the study_id {study_id!r}", _REMEDY)
        return cls(path, study_id, identity)

    def check_present(self) -> None:
        """Checks that the folder is there, since a disk may be gone.

        Raises:
            StorageError: if it is not.
        """
        if not (self.path / "study.json").exists():
            raise _absent(self.path / "study.json")

    @property
    def optuna_url(self) -> str:
        """URL of Optuna's storage of the study."""
        return sqlite_url(self.path / "optuna.db")

    def data_summary(self) -> DataSummary:
        """Reads the description of the study's data; an empty one if it was not stored."""
        remedy = "give the command that began the study again, which writes it anew"
        with reading(self.path / "data.json", remedy):
            return DataSummary.from_json(self.read("data.json"))

    def run(self, key: str) -> RunFolder:
        """Returns the folder of the run with this key.

        Raises:
            DamagedError: for a key that leads out of the study's folder.
        """
        parts = PurePosixPath(key).parts
        if ".." in parts or key.startswith("/") or "\0" in key:
            raise damaged(self.path, f"a run with the key {key!r}", "remove that key from its files")
        return RunFolder(self.path, key)

    def storage(self, key: str, storage_path: str | None) -> str:
        """Returns the folder or URI of a run's checkpoints: the run's own folder, or one below
        `training.storage_path`.
        """
        if storage_path is None:
            return str(self.run(key).path.resolve())
        if "://" in storage_path:
            place, mark, options = storage_path.partition("?")  # such as ?region=
            return f"{place.rstrip('/')}/{self.study_id}/{key}{mark}{options}"
        return str(Path(storage_path).expanduser().resolve() / self.study_id / key)

    def marker(self, storage_path: str | None, home: str) -> Marker | None:
        """Returns the file by which a process on another node tells whether its checkpoints lie where the process that
        runs the study looks for them; None for a URI, which means the same everywhere.

        Args:
            storage_path: the study's `training.storage_path`.
            home: `this_machine` of the process that runs the study.
        """
        if storage_path is not None and "://" in storage_path:
            return None
        root = self.path.resolve() if storage_path is None else Path(self.storage("", storage_path))
        return Marker(root / "study.json", self.study_id, home)

    def read(self, name: str) -> str:
        """Reads a file of the study, empty if there is none."""
        return read_text(self.path / name)

    def write(self, name: str, text: str) -> None:
        """Replaces a file of the study."""
        write_atomically(self.path / name, text)

    def views(self) -> list[RunView]:
        """Reads all runs by key, each once."""
        found = (self.run(key).view() for key in self.run_keys())
        return [view for view in found if view is not None]

    def runs(self, kind: Kind | None = None) -> list[RunRecord]:
        """Reads the records of all runs (of one kind), by key."""
        records = [self.run(key).known_record() for key in self.run_keys()]
        return [record for record in records if kind in (None, record.kind)]

    def run_keys(self) -> list[str]:
        """Returns the keys of all runs, in order."""
        with reading(self.path):
            return ["/".join(path.parts[-3:-1]) for path in sorted(self.path.glob("*/*/run.json"))]

    def lock(self) -> AbstractContextManager[None]:
        """Locks the study for this process; the system releases the lock when the process ends, however it ends.

        Raises:
            StudyError: if another process holds the lock.
            StorageError: if the file of the lock cannot be written.
        """
        return locked(self.path)

    @property
    def session_file(self) -> SessionFile:
        """The file that says who runs the study."""
        return SessionFile(self.path / "session.json")

    @property
    def cancel_file(self) -> CancelFile:
        """The file in which others ask the process that runs the study to end."""
        return CancelFile(self.path / "cancel")

    def session(self) -> Session | None:
        """Reads who ran the study last; None if no command has.

        Raises:
            StorageError: if it cannot be read.
            DamagedError: if it is not as it was written.
        """
        return self.session_file.read()

    def write_session(self, session: Session) -> None:
        """Replaces the note of who runs the study."""
        self.session_file.write(session)

    def update_session(self, *, where: str | None = None, nodes: Sequence[SessionNode] | None = None) -> None:
        """Notes where the study runs. For the process that runs it alone, in any thread. No-op if no session was begun.

        Args:
            where: the place, in one line.
            nodes: the machines there.
        """
        self.session_file.note_place(where, nodes)
