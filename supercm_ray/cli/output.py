"""The output of the command line, which outlives the terminal or pipe that it goes to."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = {"±": "+-", "–": "-", "—": "-", "…": "...", "×": "x", "→": "->", "−": "-", "≤": "<=", "≥": ">=", "Δ": "d"}


class _Outliving(io.FileIO):
    """A file descriptor whose reader may go away: what it does not take is dropped.

    Attributes:
        is_left: whether the reader has gone away.
    """

    is_left = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes what is taken, and returns that all was."""
        try:
            return super().write(data)
        except OSError:  # a closed pipe or terminal, or a full disk
            self.is_left = True
            return memoryview(data).nbytes


def keep_going() -> None:
    """Makes this process go on when nobody reads its output any more, on terminals of any encoding, and where warnings
    of libraries were to be errors.
    """
    codecs.register_error("supercm_plain", _plain)
    sys.stdout, sys.stderr = _outliving(sys.stdout, sys.__stdout__), _outliving(sys.stderr, sys.__stderr__)
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # of workers


def nobody_reads() -> bool:
    """Returns whether what reads this process's output has gone away."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Outliving) and raw.is_left


def _outliving(stream: TextIO, original: TextIO | None) -> TextIO:
    """Returns a stream to the same place that does not fail; the stream itself if it was replaced before."""
    if stream is None or stream is not original:
        return stream
    try:
        stream.flush()
        raw = _Outliving(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # closed from the beginning
        return io.StringIO()
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding=stream.encoding, errors="supercm_plain", line_buffering=True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Returns plain characters for those that an encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
