"""One training run on disk: its record, the metrics of its epochs, its splits and its test predictions."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from supercm_ray.config import Leaf
from supercm_ray.credentials import without_credentials
from supercm_ray.records.files import now_ms, read_text, write_atomically
from supercm_ray.records.messages import Arrays

Status = Literal["running", "complete", "pruned", "failed", "interrupted"]
Kind = Literal["trial", "finalist", "train", "scale"]


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
    num_labeled: int = 0
    num_unlabeled: int = 0
    summary: dict[str, float] = field(default_factory=dict)
    started_ms: int = 0
    ended_ms: int | None = None

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
        return self.record.status in ("running", "interrupted") or self.record.by_process


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
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # its one flag is all that is typed
        write_atomically(self.test_predictions, content.getvalue())

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

    def record(self) -> RunRecord | None:
        """Reads the record; None before the run was first written."""
        text = read_text(self.path / "run.json")
        return RunRecord(**json.loads(text)) if text else None

    def view(self) -> RunView | None:
        """Reads the record and the history; None before the run was first written."""
        record = self.record()
        return RunView(record, self.history()) if record else None

    def write(self, record: RunRecord) -> None:
        """Replaces the record."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "run.json", json.dumps(asdict(record), indent=1))

    def append(self, metrics: dict[str, float]) -> bool:
        """Appends the metrics of an epoch unless that epoch is recorded; returns whether it was appended."""
        if metrics["epoch"] <= self.num_epochs():
            return False
        self._cut_unfinished_line()
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**metrics, "timestamp_ms": now_ms()}) + "\n")
        return True

    def history(self) -> list[dict[str, float]]:
        """Reads the metrics of each epoch, in order, with the key `timestamp_ms`. An unfinished last line
        is ignored.
        """
        text = read_text(self.path / "metrics.jsonl")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def _cut_unfinished_line(self) -> None:
        """Removes an unfinished last line that a kill has left, so that the next line is separate."""
        path = self.path / "metrics.jsonl"
        text = read_text(path)
        if not text.endswith("\n") and text:
            write_atomically(path, text[: text.rfind("\n") + 1])

    def num_epochs(self) -> int:
        """Returns the number of epochs recorded."""
        history = self.history()
        return int(history[-1]["epoch"]) if history else 0
