"""The command line."""

from __future__ import annotations

import signal
import threading

__all__ = ["main"]


def main() -> None:
    """Runs the command line. While it is imported, which takes a second, and once the command has come to its end,
    Ctrl-C ends the process without a word.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from supercm_ray.cli.entry import main as run

    run()
