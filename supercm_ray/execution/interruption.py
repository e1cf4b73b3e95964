"""Being stopped from outside: by Ctrl-C, or by SIGTERM, with which clusters ask for the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_requested = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block both signals raise KeyboardInterrupt, and are remembered for `check_interrupt`.

    A signal that this process was started to ignore, as by `nohup`, is still ignored. May be nested, to put the
    handlers back in place after a library took them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)}
    for sig, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(sig, _interrupt)
    try:
        yield
    finally:
        for sig, handler in former.items():
            signal.signal(sig, handler)
        if _interrupt not in former.values():
            _requested.clear()


def check_interrupt() -> None:
    """Raises KeyboardInterrupt where a signal came whose own exception got lost, as happens within a finalizer."""
    if _requested.is_set():
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _requested.set()
    raise KeyboardInterrupt
