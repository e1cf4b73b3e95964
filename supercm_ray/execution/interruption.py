"""Interruption from outside: by Ctrl-C, or by SIGTERM, which clusters send."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_requested = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes both signals raise KeyboardInterrupt within the block, and remembers them for `check_interrupt`.

    A signal that this process was started to ignore, as by `nohup`, is still ignored, and so is the end of the
    terminal, since a run needs none; processes that are started within the block inherit this. Blocks may be
    nested, to restore the handlers after a library has replaced them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for sig, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(sig, signal.SIG_IGN if sig == signal.SIGHUP else _interrupt)
    try:
        yield
    finally:
        for sig, handler in former.items():
            signal.signal(sig, handler)
        if _interrupt not in former.values():
            _requested.clear()


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if a signal came whose own exception was lost, as happens within a finalizer."""
    if _requested.is_set():
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _requested.set()
    raise KeyboardInterrupt
