"""The points of a learning curve: accuracies by number of labels."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from supercm_ray.advising.sources import LABEL_PATHS, Source
from supercm_ray.config import Leaf
from supercm_ray.errors import StudyError
from supercm_ray.records import RunView, SplitDigest

MIN_COUNTS = 3
"""Fewest numbers of labels that a learning curve is fitted to."""

Split = Literal["test", "val"]
Origin = Literal["finished", "trials"]

_MOST_TRIED = 12  # numbers of labels that a search has if they are levels, and not any number of a range


@dataclass(frozen=True)
class Point:
    """Runs with the same number of labels.

    Attributes:
        num_labeled: number of labels trained on.
        label_budget: number of labels used, those for validation included.
        accuracies: from 0 to 1, one for each run.
    """

    num_labeled: int
    label_budget: int
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Points:
    """The points of a learning curve, by number of labels.

    Attributes:
        split: the split on which the accuracies are.
        origin: whether they are those of finalists and trained runs, or of the best trial of each number of labels.
        num_samples: number of samples of that split; None if it is not known.
    """

    points: tuple[Point, ...]
    split: Split
    origin: Origin
    num_samples: int | None

    @property
    def errors(self) -> dict[int, tuple[float, ...]]:
        """Errors from 0 to 1 by number of labels trained on."""
        return {point.num_labeled: tuple(1 - one for one in point.accuracies) for point in self.points}


def points_of(sources: Sequence[Source]) -> Points:
    """Returns the points of finalists and trained runs, or where these have too few numbers of labels of the best trial
    of each, on the test split if all were tested.

    Raises:
        StudyError: if there are too few numbers of labels, or the runs are of other data.
    """
    finished = [(source, run) for source in sources for run in source.finished]
    tried = [(source, run) for source in sources for run in source.trials or source.finished]
    chosen, origin = _best_groups(finished), "finished"
    if len(_counts(chosen)) < MIN_COUNTS <= len(_counts(tried)) <= _MOST_TRIED:
        chosen, origin = _best_trials(tried), "trials"
    if len(_counts(chosen)) < MIN_COUNTS:
        raise StudyError(_too_few(sources, sorted(_counts(chosen)), len(_counts(tried))))
    split: Split = "test" if all("test/accuracy" in run.record.summary for _, run in chosen) else "val"
    digests = _same_data(chosen, split)
    return Points(
        points=tuple(_point(count, chosen, split) for count in sorted(_counts(chosen))),
        split=split,
        origin="trials" if origin == "trials" else "finished",
        num_samples=digests[0].num_samples if digests else None,
    )


Runs = Sequence[tuple[Source, RunView]]


def _counts(runs: Runs) -> set[int]:
    return {run.record.num_labeled for _, run in runs}


def _best_groups(runs: Runs) -> Runs:
    """Leaves out all but the best group, by validation, of each number of labels of a study."""
    groups: dict[tuple[int, str], dict[tuple[Leaf, ...], list[tuple[Source, RunView]]]] = {}
    for source, run in runs:
        place = groups.setdefault((run.record.num_labeled, source.title), {})
        place.setdefault(source.group(run), []).append((source, run))
    best = (max(place.values(), key=_val_accuracy) for place in groups.values())
    return [one for members in best for one in members]


def _best_trials(runs: Runs) -> Runs:
    """Returns the best trial, by validation, of each number of labels."""
    by_count = {count: [one for one in runs if one[1].record.num_labeled == count] for count in _counts(runs)}
    return [max(members, key=lambda one: _val_accuracy([one])) for members in by_count.values()]


def _val_accuracy(runs: Runs) -> float:
    return statistics.mean(run.metrics["val/accuracy"] for _, run in runs)


def _point(count: int, runs: Runs, split: Split) -> Point:
    ours = [run for _, run in runs if run.record.num_labeled == count]
    return Point(
        num_labeled=count,
        label_budget=max(run.record.label_budget for run in ours),
        accuracies=tuple(
            run.record.summary["test/accuracy"] if split == "test" else run.metrics["val/accuracy"] for run in ours
        ),
    )


def _same_data(runs: Runs, split: Split) -> list[SplitDigest]:
    """Returns the digests of the split, of the runs of which they are known, if all are of the same data."""
    names = {str(run.record.params.get("data.name", "")): source.title for source, run in runs}
    if len(names) > 1:
        raise StudyError(_other_data("data set", names))
    known = [(source.title, found[split]) for source, run in runs if split in (found := source.digests(run))]
    data = {digest.data: title for title, digest in known if digest.data}
    if len(data) > 1:
        raise StudyError(_other_data("samples and labels", {name[:8]: title for name, title in data.items()}))
    tested = {digest.digest: title for title, digest in known} if split == "test" else {}
    if len(tested) > 1:
        raise StudyError(_other_data("test split", tested))
    return [digest for _, digest in known]


def _other_data(what: str, found: Mapping[str, str]) -> str:
    got = " and ".join(f"{name} of {title}" for name, title in list(found.items())[:2])
    return f"all runs of a learning curve must have the same {what}, got {got}; name studies of one"


def _too_few(sources: Sequence[Source], counts: Sequence[int], num_tried: int) -> str:
    """Returns the error for too few numbers of labels, with the command that gives them."""
    titles = "; ".join(source.title for source in sources)
    got = f"{len(counts)} ({', '.join(map(str, counts))})" if counts else "none"
    more = f", and those of {num_tried} trials, which are of any number" if num_tried > _MOST_TRIED else ""
    return (
        f"a learning curve needs complete runs with {MIN_COUNTS} or more numbers of labels, got {got} in {titles}"
        f"{more}; name more studies, or search them: {_command(sources[0])}"
    )


def _command(source: Source) -> str:
    """Returns the command of a study that has several numbers of labels, each with finalists."""
    path, choices = LABEL_PATHS[0], "[0.01, 0.02, 0.05, 0.1]"
    params = [run.record.params for run in (*source.finished, *source.trials)]
    if any(one.get(LABEL_PATHS[1]) is not None for one in params):
        path, choices = LABEL_PATHS[1], "[1, 2, 5, 10]"
    words = [
        str(source.file),
        f"name={source.file.parent.name}_labels",
        f"space.{path}={{type: categorical, choices: {choices}}}",
        f"objective=[{{metric: val/accuracy, direction: maximize}}, {{metric: {path}, direction: minimize}}]",
    ]
    return shlex.join(["supercm-ray", "tune", *words])
