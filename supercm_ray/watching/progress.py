"""How fast the phase of a study goes on, and how long it still takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supercm_ray.records import RunRecord, RunView, Session

_FOLDERS: Mapping[str, str] = {"search": "trials", "runs to target": "targets"}
_UNITS: Mapping[str, str] = {"search": "trials", "candidates": "candidates", "finalists": "finalists"}
_MS_PER_HOUR = 3_600_000


@dataclass(frozen=True)
class Progress:
    """How far the phase of a study is.

    Attributes:
        phase: its name, such as `search`.
        total: number of its runs; of a single run that of its epochs.
        done: number of those that have ended.
        unit: what is counted: `trials`, `candidates`, `finalists`, `epochs` or `measurements`.
        per_hour: how many of them in an hour, None if that is not known.
        left_s: seconds until the phase ends at this speed, None if that is not known.
    """

    phase: str
    total: int
    done: int
    unit: str
    per_hour: float | None = None
    left_s: float | None = None


def folder_of(phase: str) -> str:
    """Returns the folder, below the study's, of the runs of a phase."""
    return _FOLDERS.get(phase, phase)


def progress_of(session: Session, runs: Sequence[RunView], until_ms: int) -> Progress | None:
    """Returns how far the phase of a session is; None before the first.

    Args:
        session: the session.
        runs: the runs of the phase, those with any record.
        until_ms: the time up to which the phase has been running.
    """
    if not session.phase:
        return None
    is_single = session.phase == "train"
    weights = [_num_epochs(run.record) if is_single else 1.0 for run in runs]
    total = (round(sum(weights)) or session.total) if is_single else session.total
    now = sum(w * _fraction(run, until_ms) for w, run in zip(weights, runs, strict=True))
    before = sum(w * _fraction(run, session.phase_ms) for w, run in zip(weights, runs, strict=True))
    done = round(now) if is_single else sum(not run.is_open for run in runs)
    hours = (until_ms - session.phase_ms) / _MS_PER_HOUR
    unit = "epochs" if is_single else _UNITS.get(session.phase, "measurements")
    if now <= before or hours <= 0:
        return Progress(session.phase, total, done, unit)
    per_hour = (now - before) / hours
    return Progress(session.phase, total, done, unit, per_hour, max(0.0, total - now) / per_hour * 3600)


def _fraction(run: RunView, at_ms: int) -> float:
    """Returns the fraction of a run that was done at a time, from 0 to 1."""
    record = run.record
    if not record.is_open and record.ended_ms is not None and record.ended_ms <= at_ms:
        return 1.0
    done = sum(epoch["timestamp_ms"] <= at_ms for epoch in run.history)
    return min(1.0, done / _num_epochs(record))


def _num_epochs(record: RunRecord) -> float:
    """Returns how many epochs a run has in all; a measurement has none, and counts as one."""
    value = record.params.get("training.num_epochs")
    return float(value) if isinstance(value, int) and value > 0 and record.kind != "scale" else 1.0
