"""What a command shows of logs and of errors that nothing has caught, without credentials."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

from supercm_ray.credentials import without_credentials


class _Formatter(logging.Formatter):
    """Formats a message and its traceback, and hides credentials in both."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


def hide_credentials() -> None:
    """Hides credentials in logs that have no handler of their own, and in the traceback of an uncaught error."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())
    sys.excepthook = _show_uncaught


def _show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(without_credentials("".join(traceback.format_exception(kind, error, trace))))
