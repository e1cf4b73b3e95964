"""Interruption from outside: by Ctrl-C, by SIGTERM, which clusters send, or by SIGUSR1, with which SLURM warns."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import NoReturn

from supercm_ray.errors import InterruptedStudyError, PreemptedError

CLOSING_S = 15.0
"""Seconds from an interruption within which trackers are told of it; what they do not take is sent later."""

_STUCK_S = 8.0  # likewise, after which what its main thread has not begun to close is closed by another
_GONE_S = 19.0  # from a signal of a cluster, after which a command that has not ended is ended
_AGAIN_S = 0.05
_ONE_PRESS_S = 1.0  # within which a second Ctrl-C is the first one, as it comes from a terminal and from a launcher


@dataclass(frozen=True)
class Cause:
    """What ends a command from outside.

    Attributes:
        name: words for it, such as `SIGTERM`.
        exit_code: the command's exit status.
    """

    name: str
    exit_code: int

    @property
    def is_preemption(self) -> bool:
        """Whether the infrastructure ended the command, or somebody through it, and not the person at the keyboard."""
        return self.exit_code != InterruptedStudyError.exit_code

    def error(self, message: str) -> InterruptedStudyError:
        """Returns the error of a study that it ended."""
        if self.exit_code == PreemptedError.exit_code:
            return PreemptedError(message)
        return InterruptedStudyError(message, exit_code=self.exit_code)


CTRL_C = Cause("Ctrl-C", 130)
TERMINATED = Cause("SIGTERM", 143)
CALLER = Cause("its caller", 130)
"""Whoever called `stop` of an executor, or raised KeyboardInterrupt."""
_CAUSES = {signal.SIGINT: CTRL_C, signal.SIGTERM: TERMINATED, signal.SIGUSR1: Cause("SIGUSR1", 75)}


@dataclass
class _State:
    """What has come in this process so far.

    Attributes:
        cause: the first cause that came, None while there is none.
        since: when it came, by `time.monotonic`.
        is_raised: whether a signal has raised KeyboardInterrupt for it.
        is_held: whether the main thread is within `interruptible`.
        say: shows a line; None where this process is not the command's own.
        closers: close what is open for a cause, the innermost last, and return the last line.
        closing: the thread that has begun to, None while none has.
    """

    cause: Cause | None = None
    since: float = 0.0
    is_raised: bool = False
    is_held: bool = False
    say: Callable[[str], None] | None = None
    closers: list[Callable[[Cause], str]] = field(default_factory=list)
    closing: int | None = None

    def forget(self) -> None:
        """Forgets what came."""
        self.cause, self.is_raised, self.closing = None, False, None


_state = _State()
_closing = threading.Lock()


@contextmanager
def interruptible(*, outlive_terminal: bool = True) -> Iterator[None]:
    """Makes the three signals raise KeyboardInterrupt within the block, and remembers the first for `check_interrupt`.
    Another one does not disturb the end that the first began, but a second Ctrl-C.

    A signal that this process was started to ignore, as by `nohup`, is still ignored; processes that are started within
    the block inherit this. Blocks may be nested, to restore the handlers after a library has replaced them.

    Args:
        outlive_terminal: whether the end of the terminal is ignored as well, since a run needs none.

    Raises:
        InterruptedStudyError: by the outermost block, in place of KeyboardInterrupt after a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = (*_CAUSES, *((signal.SIGHUP,) if outlive_terminal else ()))
    former = {sig: signal.getsignal(sig) for sig in handled}
    is_outermost = _interrupt not in former.values()
    for sig, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(sig, signal.SIG_IGN if sig == signal.SIGHUP else _interrupt)
    _state.is_held = True
    try:
        yield
    except KeyboardInterrupt:
        if is_outermost and _state.cause is not None:
            raise _state.cause.error(f"interrupted by {_state.cause.name}; the same command resumes it") from None
        raise
    finally:
        for sig, handler in former.items():
            signal.signal(sig, handler)
        if is_outermost:
            _state.is_held = False
            _state.forget()


@contextmanager
def own_process(say: Callable[[str], None]) -> Iterator[None]:
    """Declares, for the duration of the block, that this process exists for the command alone: then a second Ctrl-C
    ends it at once, and so does a signal of a cluster whose end takes longer than a cluster waits; and a signal that
    comes within a finalizer, where its exception is lost, raises again.

    Args:
        say: shows a line; called within a signal handler.
    """
    former, _state.say = _state.say, say
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_raise_again, hook)
    try:
        yield
    finally:
        _state.say, sys.unraisablehook = former, hook


@contextmanager
def closed_by(closer: Callable[[Cause], str]) -> Iterator[None]:
    """Has another thread close what is open if a signal of a cluster, or its loss, finds the main one stuck within the
    block, as Ray's calls are once its head is gone. The process then ends.

    Args:
        closer: closes what is open, and returns the command's last line.
    """
    _state.closers.append(closer)
    try:
        yield
    finally:
        _state.closers.pop()


def begin_closing() -> None:
    """Notes that the calling thread closes what is open, if a signal came. Never returns if another one does so."""
    if _state.cause is not None:
        _state.is_raised = True
        if not _is_closer():
            threading.Event().wait()


def _is_closer() -> bool:
    """Returns whether it is for the calling thread to close what is open."""
    with _closing:
        _state.closing = _state.closing or threading.get_ident()
        return _state.closing == threading.get_ident()


def _close_if_stuck(say: Callable[[str], None], cause: Cause) -> None:
    """Closes what is open, and ends the process, unless the main thread has begun to."""
    if not _state.closers or not _is_closer():
        return
    say(f"error: {_state.closers[-1](cause)}")
    os._exit(cause.exit_code)


def came() -> Cause | None:
    """Returns what has ended the command, None if nothing has."""
    return _state.cause


def is_handling_signals() -> bool:
    """Returns whether a signal to this process ends the command in good order."""
    return signal.getsignal(signal.SIGTERM) is _interrupt


def takes_signals() -> bool:
    """Returns whether others may send SIGTERM to this process: it ends the command in good order, and nothing else."""
    return is_handling_signals() and _state.say is not None


def seconds_to_close() -> float:
    """Returns how many seconds are left in which trackers may be waited for: infinitely many if nothing came."""
    return float("inf") if _state.cause is None else max(0.0, _state.since + CLOSING_S - time.monotonic())


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if a signal came whose own exception was lost, as happens within a finalizer. Takes
    signals back that a library has taken since, as Ray Tune takes SIGUSR1, after which it ends as if it were done.
    """
    if _state.cause is not None:
        _state.is_raised = True
        raise KeyboardInterrupt
    if _state.is_held and threading.current_thread() is threading.main_thread():
        for sig in _CAUSES:
            if signal.getsignal(sig) not in (_interrupt, signal.SIG_IGN):
                signal.signal(sig, _interrupt)


def preempt(reason: str) -> NoReturn:
    """Ends the command as pre-empted, where an error may be swallowed, as within Ray Tune's loop: the study ends with
    PreemptedError and exit status 75. Other threads than the one that runs the study call `request`.

    Args:
        reason: what was taken from the study, such as `the cluster's head was lost`.

    Raises:
        KeyboardInterrupt: always; the study's end turns it into PreemptedError.
    """
    _note(preemption(reason))
    raise KeyboardInterrupt


def preemption(reason: str) -> Cause:
    """Returns the cause of a study that what it runs on was taken from."""
    return Cause(reason, PreemptedError.exit_code)


def request(cause: Cause) -> None:
    """Ends the command from another thread: at once where `interruptible` holds in the main one, and else at the next
    `check_interrupt`.
    """
    _note(cause)
    _signal_main_thread()


def _signal_main_thread() -> None:
    """Has the main thread raise KeyboardInterrupt where `interruptible` holds there, unless it has for this cause."""
    main = threading.main_thread().ident
    if main is not None and is_handling_signals():
        signal.pthread_kill(main, signal.SIGTERM)


def _note(cause: Cause) -> None:
    if _state.cause is not None:
        return
    _state.cause, _state.since = cause, time.monotonic()
    if _state.say is not None and cause.is_preemption:
        for seconds, act, what in (
            (_STUCK_S, _close_if_stuck, cause),
            (_GONE_S, _end_at_once, cause.exit_code),
        ):
            last_resort = threading.Timer(seconds, act, (_state.say, what))
            last_resort.daemon = True
            last_resort.start()


def _raise_again(show: Callable[[sys.UnraisableHookArgs], object], lost: sys.UnraisableHookArgs) -> None:
    """Raises an interruption again, soon, that came within a finalizer. Shows all else that is lost in one."""
    if lost.exc_type is not KeyboardInterrupt or _state.cause is None:
        show(lost)
        return
    _state.is_raised = False
    again = threading.Timer(_AGAIN_S, _signal_main_thread)
    again.daemon = True
    again.start()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Takes a signal: the first ends the command in good order, and only Ctrl-C can cut that end short."""
    cause = _CAUSES[signal.Signals(signum)]
    if not _state.is_raised:
        _note(cause)
        _state.is_raised = True
        if _state.say is not None and cause is CTRL_C:
            _state.say("ending: what is running is closed, so that the same command goes on; Ctrl-C again ends at once")
        raise KeyboardInterrupt
    if cause is CTRL_C and time.monotonic() - _state.since > _ONE_PRESS_S:
        if _state.say is not None:
            _end_at_once(_state.say, CTRL_C.exit_code)
        raise KeyboardInterrupt


def _end_at_once(say: Callable[[str], None], exit_code: int) -> None:
    """Ends this process as a kill does, which costs what was trained since the last checkpoint."""
    say("ended before everything was closed; the same command resumes it")
    os._exit(exit_code)
