"""Requests to end from elsewhere: another host, or who may not signal this process, writes into a file that is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from supercm_ray.errors import SuperCMError
from supercm_ray.execution.interruption import TERMINATED, Cause, request
from supercm_ray.records import StudyFolder

_INTERVAL_S = 1.0


@contextmanager
def heeding_requests(folder: StudyFolder) -> Iterator[None]:
    """Ends the command as SIGTERM does, within the block, once somebody asks for it in the study's folder."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_INTERVAL_S):
            with suppress(SuperCMError):  # of a disk that is away for a time
                by = folder.cancel_file.read()
                if by:
                    request(Cause(f"`supercm-ray cancel` on {by.splitlines()[0]}", TERMINATED.exit_code))
                    return

    folder.cancel_file.prepare()
    thread = threading.Thread(target=watch, name="requests", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        folder.cancel_file.remove()
