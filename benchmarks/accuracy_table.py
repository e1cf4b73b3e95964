"""The accuracy table of `docs/evidence.md` and its digest in the README, from `benchmarks/results/accuracy.json`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy_rows import rows

from supercm_ray.records import write_atomically
from supercm_ray.reporting.significance import Difference, corrected_all, difference
from supercm_ray.reporting.tables import mean_std, points

BEGIN = "<!-- accuracy: made by benchmarks/accuracy.py -->"
END = "<!-- /accuracy -->"
DIGEST = (
    *(f"digits/{arm}/{n}" for n in (1, 4) for arm in ("labels", "prior", "published", "supercm", "supercm+prior")),
    *(f"digits/{arm}/4" for arm in ("label_propagation", "vat+supercm", "fixmatch+supercm")),
    *(f"office-amazon-dslr/{arm}" for arm in ("labels", "nearest_neighbor", "supercm", "mcc")),
    *(f"usps-mnist/{arm}" for arm in ("labels", "supercm", "dann")),
)
"""The rows that the README shows, of those that are done."""

_VERDICTS = {"above": "helps", "below": "hurts", "not shown": "not shown"}
_HEAD = ("data", "arm", "labels a class", "all labels", "accuracy, %", "gain, points", "over")


def write_documents(tree: Mapping[str, Any], folder: Path) -> None:
    """Writes the digest into README.md and the whole table into docs/evidence.md, between their markers."""
    put_into(folder / "README.md", digest(tree))
    put_into(folder / "docs" / "evidence.md", table(tree))


def digest(tree: Mapping[str, Any]) -> str:
    """Returns what the README shows: a sentence about the whole table, and a few rows in Markdown."""
    lines = _lines(tree)
    return "\n".join([_counted(tree), "", *_markdown([lines[key][:-2] for key in DIGEST if key in lines], _HEAD)])


def table(tree: Mapping[str, Any]) -> str:
    """Returns the whole table in Markdown."""
    head = (*_HEAD, "over SuperCM alone", "training")
    return "\n".join([_counted(tree), "", *_markdown(list(_lines(tree).values()), head)])


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


def by_split(row: Mapping[str, Any]) -> dict[int, float]:
    """Returns the test accuracy of each split, the mean over its seeds. Splits differ in samples, search and seeds, and
    are what a test may take for independent; seeds share their split's chosen parameters.
    """
    return {i: statistics.fmean(split["test_accuracy"].values()) for i, split in enumerate(row["splits"])}


def gains(tree: Mapping[str, Any], column: str) -> dict[str, Difference]:
    """Returns the difference of each row to the one that it names under `against` or `alone`, by name of row, corrected
    for their number; rows whose partner is not run are left out.
    """
    done = tree["rows"]
    pairs = {key: row[column] for key, row in done.items() if row[column] in done}
    found = [difference(by_split(done[other]), by_split(done[key])) for key, other in pairs.items()]
    return dict(zip(pairs, corrected_all(found), strict=True))


def _counted(tree: Mapping[str, Any]) -> str:
    """Returns the sentences that say how often SuperCM helps, hurts, or neither is shown."""
    of_module = {
        key: one.verdict
        for key, one in gains(tree, "against").items()
        if key.split("/")[1].startswith(("published", "supercm")) and "-" not in key.split("/")[1]
    }
    with_it = {key: one.verdict for key, one in gains(tree, "against").items() if "+supercm" in key}
    over = gains(tree, "alone")
    joined = [one.verdict for key, one in over.items() if "+supercm" in key]
    at_once = [one.verdict for key, one in over.items() if "+supercm" not in key]
    num_rows = sum(not row.suite.gpus_per_trial for row in rows())
    parts = [f"{len(tree['rows'])} of {num_rows} rows are run."]
    if of_module:
        parts.append(f"SuperCM on its own against the same without it: {_numbers(of_module.values())}.")
    if with_it:
        parts.append(f"Added to an algorithm, against that algorithm: {_numbers(with_it.values())}.")
    for what, verdicts in (("An algorithm with SuperCM", joined), ("A baseline that is fitted at once", at_once)):
        if verdicts:
            text = ", ".join(f"{how} in {verdicts.count(how)}" for how in ("above", "below", "not shown"))
            parts.append(f"{what} against SuperCM alone: {text}.")
    return " ".join(parts)


def _numbers(verdicts: Any) -> str:
    counts = Counter(_VERDICTS[verdict] for verdict in verdicts)
    return f"helps in {counts['helps']}, hurts in {counts['hurts']}, not shown in {counts['not shown']}"


def _lines(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the cells of each row by its name."""
    over, alone, done = gains(tree, "against"), gains(tree, "alone"), tree["rows"]
    return {key: list(_cells(row, over.get(key), alone.get(key), done)) for key, row in done.items()}


def _cells(
    row: Mapping[str, Any], over: Difference | None, alone: Difference | None, done: Mapping[str, Any]
) -> Iterator[str]:
    yield row["suite"]
    yield row["arm"]
    yield "all" if row["labels_per_class"] is None else str(row["labels_per_class"])
    yield str(row["splits"][0]["labels"])
    yield mean_std(list(by_split(row).values()))
    yield "" if over is None else _stressed(over)
    yield "" if over is None else done[row["against"]]["arm"]
    yield "" if alone is None else _stressed(alone)
    yield _clock(sum(split["seconds"] for split in row["splits"]))


def _stressed(tested: Difference) -> str:
    """Formats a difference, in bold if it is shown."""
    return f"**{points(tested.mean)}**" if tested.is_shown else points(tested.mean)


def _markdown(lines: Sequence[Sequence[str]], head: Sequence[str]) -> list[str]:
    texts = ("data", "arm", "over")
    rule = ["---" if name in texts else "---:" for name in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
