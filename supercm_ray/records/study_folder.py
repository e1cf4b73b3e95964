"""The folder of a study on disk: the records that Optuna's storage, trackers and reports are made from.

    <results>/<study>/
        study.json               identity of the study
        study.yaml               the study file as resolved
        data.json                what was found in the data: classes, counts, notes
        optuna.db                Optuna's storage of the trials, rebuilt from the records if it is lost
        trials/0000/             one folder for each trial: run.json, metrics.jsonl, checkpoint.pt, splits.npz
        finalists/<name>/        one folder for each finalist: the same files, and test_predictions.npz
        report.html, table.json, plots/
        predictions.csv          where there is no test split: those of the best finalist for unlabeled samples

Files are replaced atomically or appended by the line, so that a kill at any moment loses at most an unfinished line.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from supercm_ray.errors import StudyError
from supercm_ray.records.data_summary import DataSummary
from supercm_ray.records.files import read_text, sqlite_url, write_atomically, write_first
from supercm_ray.records.run_folder import Kind, RunFolder, RunRecord, RunView


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study, with the identity under which trackers know it."""

    path: Path
    study_id: str
    identity: str

    @classmethod
    def open(cls, results: Path, name: str, identity: str) -> StudyFolder:
        """Opens the folder of a study, or creates it.

        Raises:
            StudyError: if the folder holds a study with another base, space or objective.
        """
        path = results / name
        if not (path / "study.json").is_file():
            path.mkdir(parents=True, exist_ok=True)
            write_first(path / "study.json", json.dumps({"study_id": os.urandom(8).hex(), "identity": identity}))
        cls.check_identity(path, identity)
        return cls.existing(path)

    @classmethod
    def check_identity(cls, path: Path, identity: str) -> None:
        """Checks that a folder has this study or none, without creating anything.

        Raises:
            StudyError: if it has another one.
        """
        if (path / "study.json").is_file() and cls.existing(path).identity != identity:
            raise StudyError(
                f"the study must be the one that {path} was begun with, got another base, space, objective, sampler, "
                "scheduler, enqueued_trials or baseline; give it another `name`, or move that folder away"
            )

    @classmethod
    def existing(cls, path: Path) -> StudyFolder:
        """Opens a folder to read it.

        Raises:
            StudyError: if it holds no study.
        """
        text = read_text(path / "study.json")
        if not text:
            raise StudyError(
                f"a study must have been begun in {path}, got no study.json there; run `supercm-ray tune` first"
            )
        return cls(path, **json.loads(text))

    @property
    def optuna_url(self) -> str:
        """URL of Optuna's storage of the study."""
        return sqlite_url(self.path / "optuna.db")

    def data_summary(self) -> DataSummary:
        """Reads the description of the study's data; an empty one if it was not stored."""
        return DataSummary.from_json(self.read("data.json"))

    def run(self, key: str) -> RunFolder:
        """Returns the folder of the run with this key."""
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

    def read(self, name: str) -> str:
        """Reads a file of the study, empty if there is none."""
        return read_text(self.path / name)

    def write(self, name: str, text: str) -> None:
        """Replaces a file of the study."""
        write_atomically(self.path / name, text)

    def views(self) -> list[RunView]:
        """Reads all runs by key, each once."""
        return [RunView(record, self.run(record.key).history()) for record in self.runs()]

    def runs(self, kind: Kind | None = None) -> list[RunRecord]:
        """Reads the records of all runs (of one kind), by key."""
        found = sorted(self.path.glob("*/*/run.json"))
        records = [RunRecord(**json.loads(path.read_text(encoding="utf-8"))) for path in found]
        return [record for record in records if kind in (None, record.kind)]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the study for this process; the system releases the lock when the process ends, however it ends.

        Raises:
            StudyError: if another process holds the lock.
        """
        with (self.path / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise StudyError(
                    f"one process at a time may run the study in {self.path}, got process {file.read().strip()} "
                    "at work; wait for it or stop it"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
