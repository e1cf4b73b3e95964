"""How a study stands, from its records alone: while it runs, after its end, and after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from supercm_ray.config.yaml_text import read_yaml
from supercm_ray.errors import SuperCMError
from supercm_ray.records import RunView, Session, SessionNode, StudyFolder, now_ms
from supercm_ray.records.finding import KINDS
from supercm_ray.watching.driver import Driver, find_driver
from supercm_ray.watching.progress import Progress, folder_of, progress_of

T = TypeVar("T")

Command = Literal["tune", "train", "scale"]


@dataclass(frozen=True)
class LastError:
    """The error that came last.

    Attributes:
        place: key of the run that failed, or the study's name.
        reason: why.
        time_ms: when.
    """

    place: str
    reason: str
    time_ms: int


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands.

    Attributes:
        name: its name.
        folder: its folder.
        command: the command that it belongs to.
        state: `running`, `silent` (its process, on another host, gives no sign of life), `killed`, `complete`,
            `interrupted`, `preempted`, `failed: ...`, or `unknown` where no command has noted that it ran.
        reason: what interrupted it.
        driver: the process that runs it, or ran it last.
        where: where it runs.
        nodes: the machines there.
        started_ms: when its last command began, in milliseconds since 1970.
        ended_ms: when that ended.
        last_record_ms: when anything was recorded last; None if nothing was.
        resume: the command line that runs it; empty if it is not known.
        num_trials: number of trials of the search; None for other commands.
        runs: number of runs of each kind (`trials`, `finalists`, ...) by status. A run that a kill left is `open`.
        progress: how far its phase is.
        last_error: the error that came last.
        problems: a line for each of its files that is damaged or missing.
    """

    name: str
    folder: Path
    command: Command
    state: str
    reason: str = ""
    driver: Driver | None = None
    where: str = ""
    nodes: tuple[SessionNode, ...] = ()
    started_ms: int | None = None
    ended_ms: int | None = None
    last_record_ms: int | None = None
    resume: str = ""
    num_trials: int | None = None
    runs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    progress: Progress | None = None
    last_error: LastError | None = None
    problems: tuple[str, ...] = ()


def read_status(path: Path) -> StudyStatus:
    """Reads how the study in a folder stands. Nothing is changed there, and what is damaged is named and left out."""
    problems: list[str] = []
    folder = StudyFolder(path, "", "")
    _tried(lambda: StudyFolder.existing(path), problems)
    session = _tried(folder.session, problems)
    keys = _tried(folder.run_keys, problems) or []
    runs = [run for key in keys if (run := _tried(folder.run(key).view, problems)) is not None]
    command = _command(path, runs)
    driver = None if session is None else find_driver(session, path)
    last_ms = max((_last_ms(run) for run in runs), default=None)
    num_trials = _tried(lambda: _num_trials(path), problems) if command == "tune" else None
    status = StudyStatus(
        path.name,
        path,
        command,
        state="unknown",
        driver=driver,
        last_record_ms=last_ms,
        num_trials=num_trials,
        runs=_counts(runs, is_running=driver is not None and driver.may_run),
        last_error=_last_error(path.name, runs, session),
        problems=tuple(problems),
    )
    return status if session is None or driver is None else _of_session(status, session, driver, runs)


def _of_session(status: StudyStatus, session: Session, driver: Driver, runs: Sequence[RunView]) -> StudyStatus:
    is_running = driver.state == "running" and not session.end
    until_ms = now_ms() if is_running else session.ended_ms or status.last_record_ms or session.started_ms
    of_phase = [run for run in runs if run.record.key.partition("/")[0] == folder_of(session.phase)]
    progress = progress_of(session, of_phase, until_ms)
    if progress is not None and not is_running:
        progress = replace(progress, left_s=None)
    return replace(
        status,
        state=session.end or driver.state,
        reason=session.reason,
        where=session.where,
        nodes=session.nodes,
        started_ms=session.started_ms,
        ended_ms=session.ended_ms,
        resume=session.resume,
        progress=progress,
    )


def _tried(read: Callable[[], T], problems: list[str]) -> T | None:
    """Returns what is read, or None, with a line on why it cannot be."""
    try:
        return read()
    except SuperCMError as error:
        problems.append(str(error).splitlines()[0])
        return None


def _command(path: Path, runs: Sequence[RunView]) -> Command:
    kind = runs[0].record.kind if runs else path.parent.name
    if kind in KINDS:
        return "train" if kind == "train" else "scale"
    return "tune"


def _num_trials(path: Path) -> int | None:
    """Returns the number of trials in the study file as resolved, which nothing else is read of."""
    if not (path / "study.yaml").exists():
        return None
    budget = read_yaml(path / "study.yaml").get("budget")
    value = budget.get("num_trials") if isinstance(budget, dict) else None
    return value if isinstance(value, int) else None


def _counts(runs: Sequence[RunView], *, is_running: bool) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        status = "open" if run.record.status == "running" and not is_running else run.record.status
        counts.setdefault(run.record.key.partition("/")[0], Counter())[status] += 1
    return {kind: dict(sorted(count.items())) for kind, count in counts.items()}


def _last_ms(run: RunView) -> int:
    return int(max(run.record.started_ms, run.record.ended_ms or 0, run.metrics.get("timestamp_ms", 0)))


def _last_error(name: str, runs: Sequence[RunView], session: Session | None) -> LastError | None:
    failed = [run.record for run in runs if run.record.status == "failed"]
    errors = [LastError(record.key, record.reason, record.ended_ms or 0) for record in failed]
    if session is not None and session.end.startswith("failed: "):
        errors.append(LastError(name, session.end.removeprefix("failed: "), session.ended_ms or 0))
    return max(errors, key=lambda error: error.time_ms, default=None)
