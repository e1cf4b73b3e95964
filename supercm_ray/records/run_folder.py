"""One training run on disk: its record, the metrics of its epochs, its splits and its test predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from supercm_ray.config import Leaf
from supercm_ray.credentials import without_credentials
from supercm_ray.errors import DamagedError, StorageError
from supercm_ray.records.digests import check_digest, read_last_line, read_lines, with_digest, write_line
from supercm_ray.records.files import (
    append_line,
    damaged,
    now_ms,
    read_end,
    read_text,
    read_tree,
    reading,
    write_arrays,
    write_atomically,
    writing,
)
from supercm_ray.records.messages import Arrays

logger = logging.getLogger(__name__)

Status = Literal["running", "complete", "pruned", "failed", "interrupted"]
Kind = Literal["trial", "candidate", "finalist", "train", "scale"]

_END_BYTES = 1 << 16  # in which the metrics of the last two epochs surely are
_NUM_EPOCHS = "num_epochs"  # of the file alone: how many epochs a run that has ended has


@dataclass(frozen=True)
class RunRecord:
    """The record of one training run, without the metrics of its epochs.

    Attributes:
        key: its folder below the study's, by which it is identified.
        overrides: its differences from the study's base, by dotted path.
        params: its whole configuration, by dotted path.
        labels: the arm and the group it belongs to, and the like.
        label_budget: number of labels used, those for validation included.
        reason: why it failed, or why it was stopped.
        by_process: whether its process failed, and not its computation; a finalist is then run again.
        preempted: whether it was interrupted by a cluster, or by a request to end, and not by Ctrl-C.
        num_labeled: number of labels trained on, those for validation excluded.
        num_unlabeled: number of unlabeled samples trained on.
        summary: metrics of the whole run; for a finalist those of the test split.
    """

    key: str
    kind: Kind
    overrides: dict[str, Leaf]
    params: dict[str, Leaf]
    label_budget: int
    labels: dict[str, Leaf | list[Leaf]] = field(default_factory=dict)
    status: Status = "running"
    reason: str = ""
    by_process: bool = False
    preempted: bool = False
    num_labeled: int = 0
    num_unlabeled: int = 0
    summary: dict[str, float] = field(default_factory=dict)
    started_ms: int = 0
    ended_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the run is to be run again: it has not ended, or its process failed."""
        return self.status in ("running", "interrupted") or self.by_process

    @property
    def how(self) -> str:
        """The status, with its reason if there is one."""
        if self.reason.startswith(self.status):
            return self.reason
        return f"{self.status}: {self.reason}" if self.reason else self.status

    def ended(self, status: Status, reason: str = "", summary: dict[str, float] | None = None) -> RunRecord:
        """Returns a copy that ends now with this status."""
        return replace(self, status=status, reason=reason, summary=summary or self.summary, ended_ms=now_ms())


@dataclass(frozen=True)
class RunView:
    """A run as readers see it: its record and the metrics of all its epochs.

    Attributes:
        history: metrics of each epoch in order, with the keys `epoch` and `timestamp_ms`.
    """

    record: RunRecord
    history: list[dict[str, float]]

    @property
    def number(self) -> int:
        """The number of the trial."""
        return int(self.record.key.rsplit("/", 1)[-1])

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the last epoch, empty before the first."""
        return self.history[-1] if self.history else {}

    @property
    def num_epochs(self) -> int:
        """Number of epochs trained."""
        return int(self.metrics.get("epoch", 0))

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on the validation split after the last epoch."""
        return self.metrics.get("val/accuracy")

    @property
    def is_open(self) -> bool:
        """Whether the run is to be run again: it has not ended, or its process failed."""
        return self.record.is_open


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path, key: str) -> None:
        """Stores the path; nothing is created yet.

        Args:
            path: the study's folder.
            key: the run's key.
        """
        self.key = key
        self.path = path / key

    @property
    def test_predictions(self) -> Path:
        """Path of the file with a finalist's predictions on the test split, and its confusion on the validation
        split.
        """
        return self.path / "test_predictions.npz"

    def save_test_predictions(self, arrays: Arrays) -> None:
        """Replaces the file `test_predictions`."""
        write_arrays(self.test_predictions, arrays)

    @property
    def traceback(self) -> Path:
        """Path of the file with the workers' traceback of a run that failed for good."""
        return self.path / "traceback.txt"

    def save_traceback(self, text: str) -> None:
        """Replaces the file `traceback`. Credentials in it are hidden."""
        write_atomically(self.traceback, without_credentials(text) + "\n")

    @property
    def card(self) -> Path:
        """Path of the file that describes the run's model, so that it loads without the data set."""
        return self.path / "model.json"

    @property
    def splits(self) -> Path:
        """Path of the file with the sample indices of the run's splits."""
        return self.path / "splits.npz"

    @property
    def remedy(self) -> str:
        """What to do if a file of this folder is damaged."""
        return (
            f"put it back from a copy, or move {self.path} away, and the command that made it runs another in its place"
        )

    def record(self) -> RunRecord | None:
        """Reads the record; None before the run was first written.

        Raises:
            StorageError: if it cannot be read.
            DamagedError: if it is not as it was written.
        """
        return self._read()[0]

    def known_record(self) -> RunRecord:
        """Reads the record of a run that was written.

        Raises:
            StorageError: if there is none or it cannot be read.
            DamagedError: if it is not as it was written.
        """
        record = self.record()
        if record is None:
            raise StorageError(
                f"{self._record} must be there, got no such file; see that the folder is there and its disk works, "
                "then give the same command again"
            )
        return record

    def view(self) -> RunView | None:
        """Reads the record and the history; None before the run was first written.

        Raises:
            StorageError: if they cannot be read.
            DamagedError: if they are not as they were written.
        """
        record, num_epochs = self._read()
        return RunView(record, self._history(record, num_epochs)) if record else None

    def latest(self) -> RunView | None:
        """Reads the record and only the last epochs of the history, whatever its length; None before the run was first
        written.

        Raises:
            StorageError: if they cannot be read.
            DamagedError: if the record is not as it was written.
        """
        record, _ = self._read()
        if record is None:
            return None
        text, is_whole = read_end(self._metrics, _END_BYTES)
        return RunView(record, read_lines(text, self.key, from_first=is_whole)[0])

    def write(self, record: RunRecord) -> None:
        """Replaces the record. That of a run that has ended notes the number of its epochs."""
        tree = asdict(record)
        if not record.is_open:
            tree[_NUM_EPOCHS] = len(self._lines()[0])
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._record, json.dumps(with_digest(tree), indent=1))

    def append(self, metrics: dict[str, float]) -> bool:
        """Appends the metrics of an epoch unless that epoch is recorded; returns whether it was appended. What a kill
        or a full disk has left of an unfinished line is cut off first.
        """
        last = read_last_line(read_end(self._metrics, _END_BYTES)[0], self.key)
        if last is None:
            self.cut_damaged_lines()
            last = read_last_line(self._text(), self.key) or ({}, "")
        former, digest = last
        if metrics["epoch"] <= former.get("epoch", 0):
            return False
        append_line(self._metrics, write_line({**metrics, "timestamp_ms": now_ms()}, self.key, digest))
        return True

    def history(self) -> list[dict[str, float]]:
        """Reads the metrics of each epoch, in order, with the key `timestamp_ms`. Of a run that has not ended, a
        damaged line and those after it are not read, since its checkpoint has them.

        Raises:
            StorageError: if they cannot be read.
            DamagedError: if the run has ended and they are not as they were written.
        """
        return self._history(*self._read())

    def cut_damaged_lines(self) -> None:
        """Removes what cannot be read from the end of the metrics, so that the next line is separate."""
        text, (history, _, wrong) = self._text(), self._lines()
        whole = "".join(line + "\n" for line in text.splitlines()[: len(history)])
        if wrong:
            logger.warning("%s holds %s; the epochs from there on are recorded again", self._metrics, wrong)
        if text != whole:
            write_atomically(self._metrics, whole)

    def num_epochs(self) -> int:
        """Returns the number of epochs recorded."""
        history = self.history()
        return int(history[-1]["epoch"]) if history else 0

    @property
    def _record(self) -> Path:
        return self.path / "run.json"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def _read(self) -> tuple[RunRecord | None, int]:
        """Returns the record and the least number of epochs that the run must have."""
        tree: dict[str, Any] | None = read_tree(self._record, self.remedy)
        if tree is None:
            return None, 0
        check_digest(tree, self._record, self.remedy)
        num_epochs = tree.pop(_NUM_EPOCHS, None)
        with reading(self._record, self.remedy):
            record = RunRecord(**tree)
            _check_record(record, self.key)
            earlier = record.kind != "scale" and record.status in ("complete", "pruned")
            return record, int(earlier) if num_epochs is None else int(num_epochs)

    def _history(self, record: RunRecord | None, num_epochs: int) -> list[dict[str, float]]:
        history, _, wrong = self._lines()
        if record is not None and not record.is_open:
            if wrong:
                raise damaged(self._metrics, wrong, self.remedy)
            if len(history) < num_epochs:
                raise damaged(self._metrics, f"{len(history)} epochs of at least {num_epochs}", self.remedy)
        return history

    def _lines(self) -> tuple[list[dict[str, float]], list[str], str]:
        return read_lines(self._text(), self.key)

    def _text(self) -> str:
        try:
            return read_text(self._metrics)
        except DamagedError:  # garbled bytes; the lines before them are as good as ever
            return self._metrics.read_bytes().decode("utf-8", "replace")


def _check_record(record: RunRecord, key: str) -> None:
    """Checks what a file of an earlier version, without a digest, may hold.

    Raises:
        ValueError: for another key than that of its folder, or an unknown kind or status.
    """
    if record.key != key:
        raise ValueError(f"the key {record.key!r}, which is not its folder")
    if record.kind not in get_args(Kind) or record.status not in get_args(Status):
        raise ValueError(f"the kind {record.kind!r} and the status {record.status!r}")
    if not all(isinstance(one, Mapping) for one in (record.overrides, record.params, record.labels, record.summary)):
        raise ValueError("overrides, params, labels or summary that are no mapping")
