"""The commands `status`, `logs` and `cancel` as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from supercm_ray.records import find_studies, find_study
from supercm_ray.watching.cancelling import Cancelled, cancel_study
from supercm_ray.watching.events import Event, read_events
from supercm_ray.watching.status import StudyStatus, read_status

_RESULTS = Path("results")


def status(study: str | Path | None = None, *, results: Path = _RESULTS) -> list[StudyStatus]:
    """Reads how studies stand, from their records: while they run, after their end, and after a kill.

    Args:
        study: the name, folder or file of a study of any command; None for all in `results`.
        results: the results folder.

    Raises:
        StudyError: if there is no such study, or there are several.
    """
    paths = find_studies(results) if study is None else [find_study(study, results)]
    return [read_status(path) for path in paths]


def logs(
    study: str | Path,
    *,
    trial: int | str | None = None,
    follow: bool = False,
    results: Path = _RESULTS,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Yields what happened in a study, in order.

    Args:
        study: the name, folder or file of a study of any command.
        trial: the number of a trial, or the key of a run such as `finalists/tuned-seed1`, for that run alone.
        follow: whether to wait for more until no process runs the study any longer.
        results: the results folder, for names.
        is_over: says that nobody reads any longer; asked while there is nothing new.

    Raises:
        StudyError: if there is no such study, or there are several.
    """
    key = f"trials/{int(trial):04d}" if trial is not None and str(trial).isdigit() else trial
    path = find_study(study, results)
    return read_events(path, key=None if key is None else str(key), follow=follow, is_over=is_over)


def cancel(study: str | Path, *, timeout_s: float = 60.0, results: Path = _RESULTS) -> Cancelled:
    """Ends a study that another process runs, on any host, as SIGTERM does, and waits until it has ended. The command
    that ran it goes on with it.

    Args:
        study: the name, folder or file of a study of any command.
        timeout_s: seconds to wait for its end.
        results: the results folder, for names.

    Raises:
        StudyError: if there is no such study, there are several, or no process runs it.
        SuperCMError: if it has not ended by then.
    """
    return cancel_study(find_study(study, results, to="cancel"), timeout_s=timeout_s)
