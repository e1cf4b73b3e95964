"""What happened in a study, in order: from its log, and from the records of its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from supercm_ray.errors import SuperCMError
from supercm_ray.records import LogEntry, RunFolder, RunRecord, StudyFolder
from supercm_ray.records.study_log import log_files, read_entries
from supercm_ray.watching.driver import find_driver

_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        time_ms: when, in milliseconds since 1970.
        kind: `command`, `phase`, `run`, `epoch`, `failure`, `warning`, `error`, or `damaged` for a file that cannot be
            read.
        key: the key of the run that it concerns; empty for none.
        text: what happened; the traceback of a failure.
        metrics: those of an epoch, with the key `epoch`.
    """

    time_ms: int
    kind: str
    key: str
    text: str
    metrics: Mapping[str, float] = field(default_factory=dict)


class _Tail:
    """Reads what is added to a file, whole lines at a time."""

    def __init__(self) -> None:
        self._inode, self._offset = 0, 0

    def read(self, path: Path, former: Path | None = None) -> str:
        """Returns what was added since the last call, empty if there is no file.

        Args:
            path: the file.
            former: where the file is moved to before another takes its place.
        """
        missed = ""
        try:
            with path.open("rb") as file:
                inode = path.stat().st_ino
                if inode != self._inode:
                    missed = "" if former is None else self._rest_of(former)
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                added = file.read()
        except OSError:
            return ""
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        return missed + whole.decode("utf-8", "replace")

    def _rest_of(self, former: Path) -> str:
        """Returns what the file that was moved holds beyond what was read of it."""
        try:
            if self._inode and former.stat().st_ino != self._inode:
                return ""
            return former.read_bytes()[self._offset :].decode("utf-8", "replace")
        except OSError:
            return ""


class _Reader:
    """Reads the events of a study that have been added since the last time."""

    def __init__(self, folder: StudyFolder, key: str | None) -> None:
        self._folder, self._key = folder, key
        self._log = _Tail()
        self._logged: set[str] = set()
        self._epochs: dict[str, int] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._ended: dict[str, RunRecord] = {}

    def read(self) -> list[Event]:
        """Returns the new events in order."""
        former, path = log_files(self._folder.path)
        events = [self._of_log(entry) for entry in read_entries(self._log.read(path, former))]
        self._logged |= {event.key for event in events if event.key}
        try:
            keys = self._folder.run_keys() if self._key is None else [self._key]
        except SuperCMError as error:
            return [_damaged("", error)]
        for key in keys:
            events += self._of_run(self._folder.run(key))
        wanted = [event for event in events if self._key is None or event.key == self._key]
        return sorted(wanted, key=lambda event: event.time_ms)

    def _of_log(self, entry: LogEntry) -> Event:
        key, _, rest = entry.text.partition(" ") if entry.kind == "run" else ("", "", entry.text)
        return Event(entry.time_ms, entry.kind, key, rest)

    def _of_run(self, run: RunFolder) -> Iterator[Event]:
        """Yields what a run has added: epochs, its end, and its beginning if the log does not say it."""
        stamps = tuple(_stamp(run.path / name) for name in ("run.json", "metrics.jsonl"))
        if self._seen.get(run.key) == stamps:
            return
        try:
            view = run.view()
        except SuperCMError as error:
            yield _damaged(run.key, error)
            self._seen[run.key] = (stamps[0], stamps[1])
            return
        if view is None:
            return
        if run.key not in self._seen and run.key not in self._logged:
            yield Event(view.record.started_ms, "run", run.key, "begins")
        self._seen[run.key] = (stamps[0], stamps[1])
        done = self._epochs.get(run.key, 0)
        self._epochs[run.key] = len(view.history)
        for metrics in view.history[done:]:
            known = {name: value for name, value in metrics.items() if name != "timestamp_ms"}
            yield Event(int(metrics["timestamp_ms"]), "epoch", run.key, _shown(known), known)
        yield from self._end_of(run, view.record)

    def _end_of(self, run: RunFolder, record: RunRecord) -> Iterator[Event]:
        if record.ended_ms is None or self._ended.get(run.key) == record:
            return
        self._ended[run.key] = record
        if run.key not in self._logged:
            yield Event(record.ended_ms, "run", run.key, record.how)
        if record.status == "failed" and run.traceback.is_file():
            text = run.traceback.read_text(encoding="utf-8", errors="replace").rstrip()
            yield Event(record.ended_ms, "failure", run.key, text)


def read_events(
    path: Path, *, key: str | None = None, follow: bool = False, is_over: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Yields what happened in the study in a folder, in order.

    Args:
        path: the folder.
        key: the key of a run, for what concerns it alone.
        follow: whether to wait for more until no process runs the study any longer.
        is_over: says that nobody reads any longer.
    """
    folder = StudyFolder(path, "", "")
    reader = _Reader(folder, key)
    while True:
        goes_on = follow and not is_over() and _is_driven(folder)  # asked first, so that its last words are read
        yield from reader.read()
        if not goes_on:
            return
        time.sleep(_INTERVAL_S)


def _is_driven(folder: StudyFolder) -> bool:
    try:
        session = folder.session()
    except SuperCMError:
        return False
    return session is not None and find_driver(session, folder.path).state == "running"


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _damaged(key: str, error: SuperCMError) -> Event:
    return Event(0, "damaged", key, str(error).splitlines()[0])


def _shown(metrics: Mapping[str, float]) -> str:
    """Returns the metrics of an epoch in one line."""
    values = (f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
    return f"epoch {metrics['epoch']:g}: {', '.join(values)}"
