"""The entry of the command line: how a command ends, and what is shown of that."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from supercm_ray.cli.app import app
from supercm_ray.cli.logs import hide_credentials
from supercm_ray.cli.output import keep_going
from supercm_ray.errors import InterruptedStudyError, SuperCMError, WorkersError
from supercm_ray.execution.interruption import came, interruptible, own_process


def main() -> None:
    """Runs the command line; an error of this package is shown as one message, without a traceback,
    with its exit code.
    """
    hide_credentials()
    keep_going()
    sys.path.append(str(Path.cwd()))  # where plug-ins may lie; last, so that they stand in for nothing else
    try:
        with own_process(say_aside), interruptible(outlive_terminal=False):
            _run()
    except SuperCMError as error:
        shown = Console(stderr=True, soft_wrap=True, highlight=False)
        if isinstance(error, WorkersError):
            shown.print(error.worker_traceback, markup=False)
        shown.print(str(error) if isinstance(error, InterruptedStudyError) else f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(InterruptedStudyError.exit_code)


def _run() -> None:
    """Runs the command. Typer turns an interruption into an exit status that is the same for all."""
    try:
        app()
    except SystemExit as error:
        if came() is not None and error.code == InterruptedStudyError.exit_code:
            raise KeyboardInterrupt from None
        raise


def say_aside(line: str) -> None:
    """Writes a line to the terminal, also while another is being written, as in a handler of a signal."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))
