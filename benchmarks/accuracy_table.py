"""The accuracy table of the README, from `benchmarks/results/accuracy.json`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accuracy_rows import WITH, WITHOUT

from supercm_ray.records import write_atomically

BEGIN = "<!-- accuracy: made by benchmarks/accuracy.py -->"
END = "<!-- /accuracy -->"

_HEAD = (
    "| data | algorithm | labels a class | labels | without | with | gain | trials | training |",
    "|---|---|---:|---:|---:|---:|---:|---:|---:|",
)


def table(tree: Mapping[str, Any]) -> str:
    """Returns a sentence that counts clear gains and losses, and the table in Markdown, a line for each row of the
    JSON.
    """
    rows = list(tree["rows"].values())
    helped, hurt = (sum(is_clear(row) and sign * gain(row) > 0 for row in rows) for sign in (1, -1))
    counted = f"Of {len(rows)} rows the module helps clearly in {helped} and hurts clearly in {hurt}."
    return "\n".join([counted, "", *_HEAD, *map(_line, rows)])


def put_into(path: Path, text: str) -> None:
    """Replaces the text between the markers of a document, if it has them."""
    whole = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        write_atomically(path, f"{before}{BEGIN}\n{text}\n{END}{after}")


def between_markers(text: str) -> str:
    """Returns the text between the markers of a document."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def gain(row: Mapping[str, Any]) -> float:
    """Returns mean accuracy with the module minus that without."""
    return statistics.mean(row[WITH]["test_accuracy"].values()) - statistics.mean(
        row[WITHOUT]["test_accuracy"].values()
    )


def is_clear(row: Mapping[str, Any]) -> bool:
    """Returns whether the arms differ by more than twice the standard error of the difference of their means over
    seeds.
    """
    arms = [list(row[arm]["test_accuracy"].values()) for arm in (WITHOUT, WITH)]
    if min(map(len, arms)) < 2:
        return False
    error = sum(statistics.variance(arm) / len(arm) for arm in arms) ** 0.5
    return bool(abs(gain(row)) > 2 * error)


def _line(row: Mapping[str, Any]) -> str:
    arms = (row[WITHOUT], row[WITH])
    gained = f"{100 * gain(row):+.1f}"
    is_adapted = row["labels_per_class"] is None
    cells = [
        row["suite"],
        "source only" if is_adapted and row["algorithm"] == "supervised" else row["algorithm"],
        "all" if is_adapted else str(row["labels_per_class"]),
        str(row[WITH]["labels"]),
        *(_percent(arm["test_accuracy"].values()) for arm in arms),
        f"**{gained}**" if is_clear(row) else gained,
        f"2 × {row['search']['num_trials']}",
        _clock(sum(arm["seconds"] for arm in arms)),
    ]
    return f"| {' | '.join(cells)} |"


def _percent(values: Any) -> str:
    percents = [100 * value for value in values]
    std = f" ± {statistics.stdev(percents):.1f}" if len(percents) > 1 else ""
    return f"{statistics.mean(percents):.1f}{std}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
