"""What a study leaves on disk: the one source that reports and MLflow are made from.

    <results>/<study>/
        study.json               identity of the study
        study.yaml               the study file as resolved
        optuna.db                proposals and outcomes
        trials/0000/             one folder for each run: run.json, metrics.jsonl, checkpoint.pt, splits.npz
        finalists/<name>/        likewise, and outcome.npz
        report.html, table.json, figures/

Files are replaced whole or appended by the line, so that a kill at any moment loses at most an unfinished line.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from supercm_ray.errors import StudyError

Status = Literal["running", "complete", "pruned", "failed", "interrupted"]
Kind = Literal["trial", "finalist", "train", "scale"]


@dataclass(frozen=True)
class RunRecord:
    """One training run, without its metrics.

    Attributes:
        key: its folder below the study's, which is its name for good.
        assignments: what it changes of the study's base, by dotted path.
        params: its whole configuration, by dotted path.
        labels: the arm and the factor level it belongs to, and the like.
        label_budget: every label it used, those for validation included.
        reason: why it failed, or why it was stopped.
        summary: figures of the whole run, those of the test split for a finalist.
    """

    key: str
    kind: Kind
    assignments: dict[str, Any]
    params: dict[str, Any]
    label_budget: int
    labels: dict[str, Any] = field(default_factory=dict)
    status: Status = "running"
    reason: str = ""
    summary: dict[str, float] = field(default_factory=dict)
    started_ms: int = 0
    ended_ms: int | None = None

    def ended(self, status: Status, reason: str = "", summary: dict[str, float] | None = None) -> RunRecord:
        """A copy that has come to its end now."""
        return replace(self, status=status, reason=reason, summary=summary or self.summary, ended_ms=now_ms())


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path, key: str) -> None:
        """Args: the study's folder and the run's key."""
        self.key = key
        self.path = path / key

    @property
    def outcome(self) -> Path:
        """What a finalist found on the test split, as arrays."""
        return self.path / "outcome.npz"

    def save_outcome(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Replaces `outcome`."""
        partial = self.outcome.with_name("outcome.partial.npz")
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]  # its one flag is all that is typed
        partial.replace(self.outcome)

    @property
    def traceback(self) -> Path:
        """What the workers of a run that failed for good had to say."""
        return self.path / "traceback.txt"

    def save_traceback(self, text: str) -> None:
        """Replaces `traceback`."""
        write_atomically(self.traceback, text + "\n")

    @property
    def splits(self) -> Path:
        """The row numbers of its splits."""
        return self.path / "splits.npz"

    def record(self) -> RunRecord | None:
        """The record, or None before the run was first written."""
        text = _read_text(self.path / "run.json")
        return RunRecord(**json.loads(text)) if text else None

    def write(self, record: RunRecord) -> None:
        """Replaces the record."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "run.json", json.dumps(asdict(record), indent=1))

    def append(self, metrics: dict[str, float]) -> bool:
        """Adds the metrics of an epoch unless that epoch is there already; says whether it was added."""
        if metrics["epoch"] <= self.num_epochs():
            return False
        self._cut_unfinished_line()
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**metrics, "timestamp_ms": now_ms()}) + "\n")
        return True

    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch, in order, with the key `timestamp_ms`. An unfinished last line does not count."""
        text = _read_text(self.path / "metrics.jsonl")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def _cut_unfinished_line(self) -> None:
        """Takes away what a kill left of a line, so that the next one starts on its own."""
        path = self.path / "metrics.jsonl"
        text = _read_text(path)
        if not text.endswith("\n") and text:
            write_atomically(path, text[: text.rfind("\n") + 1])

    def num_epochs(self) -> int:
        """Epochs recorded."""
        history = self.history()
        return int(history[-1]["epoch"]) if history else 0


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study, with the identity under which MLflow knows it."""

    path: Path
    study_id: str
    identity: str

    @classmethod
    def open(cls, results: Path, name: str, identity: str) -> StudyFolder:
        """Opens the folder of a study, or makes it.

        Raises:
            StudyError: where the folder holds a study made from another base, space or objective.
        """
        path = results / name
        text = _read_text(path / "study.json")
        if not text:
            path.mkdir(parents=True, exist_ok=True)
            text = _write_first(path / "study.json", {"study_id": os.urandom(8).hex(), "identity": identity})
        folder = cls(path, **json.loads(text))
        if folder.identity != identity:
            raise StudyError(
                f"the study must be the one that {path} was begun with, got another base, space, objective, sampler, "
                "scheduler, points or control; give it another `name`, or move that folder away"
            )
        return folder

    @classmethod
    def existing(cls, path: Path) -> StudyFolder:
        """Opens a folder to read it.

        Raises:
            StudyError: where no study has been begun.
        """
        text = _read_text(path / "study.json")
        if not text:
            raise StudyError(
                f"a study must have been begun in {path}, got no study.json there; run `supercm-ray tune` first"
            )
        return cls(path, **json.loads(text))

    @property
    def optuna_url(self) -> str:
        """Where Optuna keeps the study."""
        return f"sqlite:///{self.path.resolve() / 'optuna.db'}"

    def run(self, key: str) -> RunFolder:
        """The folder of the run with this key."""
        return RunFolder(self.path, key)

    def storage(self, key: str, storage_path: str | None) -> str:
        """The folder or URI of a run's checkpoints: its own folder, or one below `training.storage_path`."""
        if storage_path is None:
            return str(self.run(key).path.resolve())
        if "://" in storage_path:
            place, mark, options = storage_path.partition("?")  # such as ?region=
            return f"{place.rstrip('/')}/{self.study_id}/{key}{mark}{options}"
        return str(Path(storage_path).expanduser().resolve() / self.study_id / key)

    def runs(self, kind: Kind | None = None) -> list[RunRecord]:
        """The records of all runs (of one kind), by key."""
        found = sorted(self.path.glob("*/*/run.json"))
        records = [RunRecord(**json.loads(path.read_text(encoding="utf-8"))) for path in found]
        return [record for record in records if kind in (None, record.kind)]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the study for this process; the system lets go when the process ends, however it ends.

        Raises:
            StudyError: where another process holds it.
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


def now_ms() -> int:
    """The time in milliseconds since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a text file: a kill at any moment leaves the former one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _write_first(path: Path, content: dict[str, str]) -> str:
    """Makes a JSON file whole unless another process made it meanwhile, and returns what stands in it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(partial, json.dumps(content))
    with suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
    return path.read_text(encoding="utf-8")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
