"""The status of studies as text: a block for one study, a line each for several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from supercm_ray.cli.progress import clock
from supercm_ray.records import SessionNode, now_ms
from supercm_ray.watching import StudyStatus


def status_line(status: StudyStatus) -> str:
    """Returns how a study stands in one line."""
    shown = [_counted(kind, counts) for kind, counts in status.runs.items()]
    parts = [status.state, *shown, *_speed(status)]
    if status.driver is not None and status.driver.may_run:
        parts.append(f"process {status.driver.pid} on {status.driver.host}")
    parts += [f"{len(status.problems)} damaged, see `supercm-ray status {status.name}`"] if status.problems else []
    return f"{status.folder}: {', '.join(parts)}"


def status_block(status: StudyStatus) -> list[str]:
    """Returns how a study stands, in lines."""
    rows = list(_rows(status))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}".rstrip() for name, text in rows]


def _rows(status: StudyStatus) -> Iterator[tuple[str, str]]:
    yield "study", f"{status.name} ({status.command}) in {status.folder}"
    yield "state", status.state + (f", {status.reason}" if status.reason else "") + _since(status)
    if status.driver is not None:
        yield "process", _process(status)
    if status.where:
        yield "where", status.where
    for kind, counts in status.runs.items():
        yield kind, _runs(status, kind, counts)
    if status.progress is not None:
        name = status.progress.phase
        yield "phase", ", ".join([f"{name}: {status.progress.done} of {status.progress.total} done", *_speed(status)])
    for node in status.nodes:
        yield "node", _node(node)
    if status.last_error is not None:
        yield "error", f"{status.last_error.place}: {status.last_error.reason}"
    for problem in status.problems:
        yield "damaged", problem
    if status.resume:
        is_done = status.state in ("running", "silent", "complete")
        yield ("command" if is_done else "resume"), status.resume


def _since(status: StudyStatus) -> str:
    """Returns for how long the study has been running, or how long ago anything happened."""
    now = now_ms()
    if status.state == "running" and status.started_ms is not None:
        return f", for {clock((now - status.started_ms) / 1000)}"
    last = status.ended_ms or status.last_record_ms
    return "" if last is None else f", {clock(max(0, now - last) / 1000)} ago"


def _process(status: StudyStatus) -> str:
    driver = status.driver
    assert driver is not None
    known = f"{driver.pid} on {driver.host}, {driver.state}"
    return known if driver.seen_s is None else f"{known}, seen {clock(driver.seen_s)} ago"


def _runs(status: StudyStatus, kind: str, counts: Mapping[str, int]) -> str:
    shown = [f"{count} {name}" for name, count in counts.items()]
    begun = sum(counts.values())
    if kind == "trials" and status.num_trials is not None and begun < status.num_trials:
        shown.append(f"{status.num_trials - begun} to begin")
    return ", ".join(shown)


def _counted(kind: str, counts: Mapping[str, int]) -> str:
    return f"{kind} " + " ".join(f"{count} {name}" for name, count in counts.items())


def _speed(status: StudyStatus) -> list[str]:
    progress = status.progress
    if progress is None or progress.per_hour is None:
        return []
    left = [] if progress.left_s is None else [f"about {clock(progress.left_s)} left"]
    speed = f"{progress.per_hour:,.0f}" if progress.per_hour >= 10 else f"{progress.per_hour:.2g}"
    return [f"{speed} {progress.unit} an hour", *left]


def _node(node: SessionNode) -> str:
    gpus = f", {node.gpus:g} GPU" if node.gpus else ""
    reason = f", {node.reason}" if node.reason else ""
    return f"{node.name} {node.address}: {node.cpus:g} CPU{gpus}, {node.state}{reason}"
