"""The accuracy table of the README, from `benchmarks/results/accuracy.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accuracy_rows import WITH, WITHOUT

from supercm_ray.records import write_atomically
from supercm_ray.reporting.significance import Difference, corrected_all, difference
from supercm_ray.reporting.tables import mean_std, points

BEGIN = "<!-- accuracy: made by benchmarks/accuracy.py -->"
END = "<!-- /accuracy -->"

_HEAD = (
    "| data | algorithm | labels a class | labels | without | with | gain | trials | training |",
    "|---|---|---:|---:|---:|---:|---:|---:|---:|",
)


def table(tree: Mapping[str, Any]) -> str:
    """Returns a sentence that counts the gains and losses that are shown, and the table in Markdown, a line for each
    row of the JSON.
    """
    rows = list(tree["rows"].values())
    tested = corrected_all([difference(*(by_seed(row[arm]) for arm in (WITHOUT, WITH))) for row in rows])
    verdicts = Counter(one.verdict for one in tested)
    counted = (
        f"Of {len(rows)} rows the module helps in {verdicts['above']} and hurts in {verdicts['below']}; in "
        f"{verdicts['not shown']} neither is shown."
    )
    lines = [_line(row, one) for row, one in zip(rows, tested, strict=True)]
    return "\n".join([counted, "", *_HEAD, *lines])


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


def by_seed(arm: Mapping[str, Any]) -> dict[int, float]:
    """Returns the test accuracy of an arm by seed."""
    return {int(seed): accuracy for seed, accuracy in arm["test_accuracy"].items()}


def _line(row: Mapping[str, Any], tested: Difference) -> str:
    arms = (row[WITHOUT], row[WITH])
    gained = points(tested.mean)
    is_adapted = row["labels_per_class"] is None
    cells = [
        row["suite"],
        "source only" if is_adapted and row["algorithm"] == "supervised" else row["algorithm"],
        "all" if is_adapted else str(row["labels_per_class"]),
        str(row[WITH]["labels"]),
        *(mean_std(list(arm["test_accuracy"].values())) for arm in arms),
        f"**{gained}**" if tested.is_shown else gained,
        f"2 × {row['search']['num_trials']}",
        _clock(sum(arm["seconds"] for arm in arms)),
    ]
    return f"| {' | '.join(cells)} |"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
