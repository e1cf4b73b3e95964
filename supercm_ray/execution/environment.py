"""Environment variables that processes started by this one must not inherit, and that threads of this one need."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PATIENCE_S = 20.0


@dataclass
class _Environment:
    """Who uses the environment at the moment.

    Attributes:
        changed: notified of each change of the two below.
        users: number of blocks of `complete_environment`.
        is_complete: whether nothing is taken out.
    """

    changed: threading.Condition = field(default_factory=threading.Condition)
    users: int = 0
    is_complete: bool = True

    def add(self, users: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.is_complete or users < 0)
            self.users += users
            self.changed.notify_all()

    def set_complete(self, is_complete: bool) -> None:
        with self.changed:
            self.is_complete = is_complete
            self.changed.notify_all()


_environment = _Environment()


@contextmanager
def withheld(is_withheld: Callable[[str, str], bool]) -> Iterator[None]:
    """Takes variables out of the environment for the duration of the block, in which processes are started. Waits for
    the blocks of `complete_environment` in other threads, but not for those that hang.

    Args:
        is_withheld: returns whether a variable of this name and value is taken out.
    """
    kept: dict[str, str] = {}
    try:
        with _environment.changed:
            _environment.is_complete = False
            _environment.changed.wait_for(lambda: not _environment.users, _PATIENCE_S)
        for name, value in list(os.environ.items()):
            if is_withheld(name, value):
                kept[name] = value
                del os.environ[name]
        yield
    finally:
        os.environ.update(kept)
        _environment.set_complete(True)


@contextmanager
def complete_environment() -> Iterator[None]:
    """Has no variable taken out for the duration of the block; waits until those that are out are back."""
    _environment.add(1)
    try:
        yield
    finally:
        _environment.add(-1)
