"""The log in a study's folder: what its command did and warned of, a line each, of bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

NAME = "log.txt"
FORMER = f"{NAME}.1"
"""What was written before the log came to its bound."""

_LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<kind>[a-z]+): (?P<text>.*)")
_MORE = "    "


@dataclass(frozen=True)
class LogEntry:
    """An entry of the log.

    Attributes:
        time_ms: when it was written, in milliseconds since 1970.
        kind: `command`, `phase`, `run`, `warning` or `error`.
        text: what it says, on one line or several; that of a run begins with the run's key.
    """

    time_ms: int
    kind: str
    text: str

    def __str__(self) -> str:
        """Returns it as it stands in the file: lines after the first are indented."""
        return f"{shown_time(self.time_ms)} {self.kind}: " + f"\n{_MORE}".join(self.text.splitlines())


def shown_time(time_ms: int) -> str:
    """Returns a time as text, in UTC."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}Z"


def read_entries(text: str) -> Iterator[LogEntry]:
    """Yields the entries in a text; lines that belong to none, as of an entry that was cut off, are left out."""
    entry: LogEntry | None = None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            if entry is not None:
                yield entry
            time_ms = round(datetime.fromisoformat(match["time"]).timestamp() * 1000)
            entry = LogEntry(time_ms, match["kind"], match["text"])
        elif entry is not None and line.startswith(_MORE):
            entry = replace(entry, text=f"{entry.text}\n{line.removeprefix(_MORE)}")
    if entry is not None:
        yield entry


def log_files(folder: Path) -> tuple[Path, Path]:
    """Returns the paths of a study's log, the earlier one first."""
    return folder / FORMER, folder / NAME
