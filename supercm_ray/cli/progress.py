"""Progress on a terminal: one live line for a person, or a line from time to time for a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from supercm_ray.config import Leaf, Study
from supercm_ray.records import RunRecord

_SECONDS_BETWEEN_LINES = 5.0


class ProgressView:
    """A callback that shows how many trials are done, running and failed, the best value so far, and the time left."""

    def __init__(self, study: Study, console: Console) -> None:
        """Prepares the line; nothing is shown yet.

        Args:
            study: the study, for its objective and group paths.
            console: the console to write to.
        """
        self._study, self._console = study, console
        self._live = Live("", console=console, refresh_per_second=4) if console.is_terminal else None
        self._best: dict[tuple[Leaf, ...], float] = {}
        self._values: dict[str, float] = {}
        self._epochs: dict[str, int] = {}
        self._status: dict[str, str] = {}
        self._phase, self._total, self._done_before = "", 0, 0.0
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> ProgressView:
        if self._live:
            self._live.start()
        self._show(force=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._phase:
            self._show(force=True)
        if self._live:
            self._live.stop()

    def on_phase(self, name: str, total: int, before: Sequence[tuple[RunRecord, dict[str, float]]]) -> None:
        """Starts a new line for a phase."""
        if self._phase:
            self._show(force=True)
            if self._live:
                self._console.print(self.line())
        self._phase, self._total, self._began = name, total, time.monotonic()
        self._best, self._values, self._epochs, self._status = {}, {}, {}, {}
        for record, metrics in before:
            if record.status not in ("running", "interrupted"):
                self._take_in(record, metrics or None)
                self._take_in(record, None)
        self._done_before = self._finished()

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        """Updates the line with the state of a run."""
        self._take_in(record, metrics)
        self._show()

    def on_place(self, where: str, results: str, tracking: str) -> None:
        """Prints where runs are executed, and where their records are."""
        lines = [("runs on", where), ("results", results), *([("tracking", tracking)] if tracking else [])]
        for name, text in lines:
            self._console.print(f"{name:8} {text}", markup=False, highlight=False, soft_wrap=True)

    def on_result(self, text: str) -> None:
        """Prints the result below the last line."""
        if self._phase:
            self._show(force=True)
        if self._live:
            self._live.stop()
        self._phase, self._live = "", None
        self._console.print(f"\n{text}\n", markup=False)

    def _take_in(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        if metrics is not None:
            self._epochs[record.key] = int(metrics["epoch"])
            self._values[record.key] = metrics.get(self._study.primary.metric, float("nan"))
        else:
            self._status[record.key] = record.status
        if record.kind == "trial" and record.status == "complete" and record.key in self._values:
            self._note_best(record)

    def line(self) -> str:
        """Returns the text of the line."""
        if not self._phase:
            return f"{self._study.name}: starting"
        count = Counter(self._status.values())
        done = sum(count[status] for status in ("complete", "pruned", "failed"))
        shown = [f"{self._phase}: {done}/{self._total} done"]
        details = [f"{count[status]} {status}" for status in ("pruned", "failed") if count[status]]
        shown[0] += f" ({', '.join(details)})" if details else ""
        shown.append(f"{count['running']} running")
        shown += [f"best {self._study.primary.metric} {self._best_text()}"] if self._best else []
        elapsed = time.monotonic() - self._began
        shown.append(f"{clock(elapsed)} elapsed")
        left = self._seconds_left(elapsed, done)
        shown += [f"about {clock(left)} left"] if left is not None else []
        return ", ".join(shown)

    def _note_best(self, record: RunRecord) -> None:
        group = self._study.group({**record.params, **record.overrides})
        better = max if self._study.primary.direction == "maximize" else min
        value = self._values[record.key]
        self._best[group] = better(value, self._best.get(group, value))

    def _best_text(self) -> str:
        texts = []
        for group, value in sorted(self._best.items()):
            name = ",".join(str(part) for part in group)
            texts.append(f"{value:.3f} at {name}" if name else f"{value:.3f}")
        return "; ".join(texts)

    def _finished(self) -> float:
        """Returns the number of runs done, running ones counted by the fraction of their epochs."""
        num_epochs = self._study.base.training.num_epochs
        return sum(
            self._epochs.get(key, 0) / num_epochs if status == "running" else 1.0
            for key, status in self._status.items()
        )

    def _seconds_left(self, elapsed: float, done: int) -> float | None:
        gained = self._finished() - self._done_before
        return elapsed * (self._total - self._finished()) / gained if gained > 0 and done < self._total else None

    def _show(self, *, force: bool = False) -> None:
        if self._live:
            self._live.update(Text(self.line()))
        elif self._phase and (force or time.monotonic() - self._shown > _SECONDS_BETWEEN_LINES):
            self._shown = time.monotonic()
            self._console.print(self.line(), highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Returns a time in seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
