"""What is compared: entries, each with the lines of its table, its trials, its settings and its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from supercm_ray.config import Leaf
from supercm_ray.records import RunView, SplitDigest

Split = Literal["test", "val"]


@dataclass(frozen=True)
class Source:
    """The runs of an entry, as they were read.

    Attributes:
        title: what was named, for a reader.
        finished: the complete runs whose accuracies are compared: finalists, or trained runs.
        trials: the runs of the search.
        varied: dotted paths in which the entry's runs differ.
        group_paths: those of them by which its table has groups.
        digests: the digests of a run's splits by use; empty where they are not known.
        predictions: the file with a run's predictions on the test split, if there may be one.
        num_workers: number of workers of each run, None if it differs or is not known.
        gpus_per_worker: number of GPUs of each worker.
    """

    title: str
    finished: Sequence[RunView]
    trials: Sequence[RunView]
    varied: tuple[str, ...]
    group_paths: tuple[str, ...]
    digests: Callable[[RunView], Mapping[str, SplitDigest]]
    predictions: Callable[[RunView], Path | None]
    num_workers: int | None = None
    gpus_per_worker: float = 0.0


@dataclass(frozen=True)
class Line:
    """A line of the table: runs that differ in their seed alone.

    Attributes:
        entry: the letter of its entry.
        name: that letter, with a number where several lines have the same arm, group and labels.
        group: the values of the entry's group paths.
        arm: `tuned`, `baseline`, or the command that made the runs.
        params: the values of what the entry varies, apart from the group paths.
        label_budget: number of labels used, those for validation included.
        num_labeled: number of labels trained on.
        split: the split on which the accuracies are.
        accuracies: from 0 to 1, by seed.
        data_name: the name of the data set.
        digest: that of the split, if it is known and the same for all seeds; `data` of it is that of the data.
        predictions: files with predictions on the test split, by seed.
    """

    entry: str
    name: str
    group: Mapping[str, Leaf]
    arm: str
    params: Mapping[str, Leaf]
    label_budget: int
    num_labeled: int
    split: Split
    accuracies: Mapping[int, float]
    data_name: str
    digest: SplitDigest | None = None
    predictions: Mapping[int, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What an entry took.

    Attributes:
        trials: number of trials by status.
        num_finished: number of the runs whose accuracies are compared.
        seconds: seconds of training, added over all runs.
        worker_seconds: those times the workers of a run; None if their number differs or is not known.
        gpu_seconds: likewise for GPUs.
    """

    trials: Mapping[str, int]
    num_finished: int
    seconds: float
    worker_seconds: float | None
    gpu_seconds: float | None


@dataclass(frozen=True)
class Entry:
    """One of the things compared.

    Attributes:
        letter: `A` for the first, `B` for the second, and so on.
        settings: the values that all its runs have in common, by dotted path.
    """

    letter: str
    title: str
    lines: tuple[Line, ...]
    trials: tuple[RunView, ...]
    varied: tuple[str, ...]
    settings: Mapping[str, Leaf]
    cost: Cost

    @classmethod
    def of(cls, letter: str, source: Source) -> Entry:
        """Returns the entry of these runs."""
        source = _with_tuples(source)
        runs = [*source.finished, *source.trials]
        return cls(
            letter=letter,
            title=source.title,
            lines=_numbered(list(_lines(letter, source))),
            trials=tuple(source.trials),
            varied=source.varied,
            settings=_common([run.record.params for run in runs], leave_out={"seed", *source.varied}),
            cost=_cost(source),
        )


def _with_tuples(source: Source) -> Source:
    """Returns a source whose parameters have no lists, as records on disk have, so that they are equal to those of any
    other.
    """

    def changed(run: RunView) -> RunView:
        params = {path: tuple(one) if isinstance(one, list) else one for path, one in run.record.params.items()}
        return replace(run, record=replace(run.record, params=params))

    finished, trials = ([changed(run) for run in runs] for runs in (source.finished, source.trials))
    return replace(source, finished=finished, trials=trials)


def _common(params: Sequence[Mapping[str, Leaf]], *, leave_out: set[str]) -> dict[str, Leaf]:
    """Returns the parameters that are the same in all of several runs, those left out aside."""
    if not params:
        return {}
    first, rest = params[0], params[1:]
    return {
        path: value
        for path, value in first.items()
        if path not in leave_out and all(one.get(path) == value for one in rest)
    }


def _lines(letter: str, source: Source) -> Iterable[Line]:
    """Returns a line for each set of finished runs that differ in their seed alone, in their order."""
    members: dict[tuple[str, ...], list[RunView]] = {}
    for run in source.finished:
        settings = sorted(f"{path}={value}" for path, value in run.record.params.items() if path != "seed")
        members.setdefault((_arm(run), *settings), []).append(run)
    return [_line(letter, source, runs) for runs in members.values()]


def _numbered(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Names the lines that only their parameters tell apart."""
    alike = Counter(map(_place, lines))
    seen: Counter[tuple[object, ...]] = Counter()
    found = []
    for line in lines:
        seen[_place(line)] += 1
        number = str(seen[_place(line)]) if alike[_place(line)] > 1 else ""
        found.append(replace(line, name=f"{line.entry}{number}"))
    return tuple(found)


def _place(line: Line) -> tuple[object, ...]:
    return line.arm, line.label_budget, line.num_labeled, tuple(line.group.items())


def _line(letter: str, source: Source, runs: Sequence[RunView]) -> Line:
    first = runs[0].record
    split: Split = "test" if all("test/accuracy" in run.record.summary for run in runs) else "val"
    digests = {_digest(source, run, split) for run in runs}
    files = {_seed(run): source.predictions(run) for run in runs}
    return Line(
        entry=letter,
        name=letter,
        group={path: first.params[path] for path in source.group_paths},
        arm=_arm(runs[0]),
        params={path: first.params[path] for path in source.varied if path not in source.group_paths},
        label_budget=first.label_budget,
        num_labeled=first.num_labeled,
        split=split,
        accuracies={_seed(run): _accuracy(run, split) for run in runs},
        data_name=str(first.params.get("data.name", "")),
        digest=digests.pop() if len(digests) == 1 else None,
        predictions={seed: path for seed, path in files.items() if path is not None},
    )


def _digest(source: Source, run: RunView, split: Split) -> SplitDigest | None:
    """Returns the digest of the test split; of the validation split, which may follow the seed, that of its data."""
    found = source.digests(run).get(split)
    if found is None or split == "test":
        return found
    return SplitDigest(found.data, found.num_samples, found.data)


def _seed(run: RunView) -> int:
    return int(str(run.record.params["seed"]))


def _arm(run: RunView) -> str:
    return str(run.record.labels.get("arm", run.record.kind))


def _accuracy(run: RunView, split: Split) -> float:
    return run.record.summary["test/accuracy"] if split == "test" else run.metrics["val/accuracy"]


def _cost(source: Source) -> Cost:
    seconds = sum(map(seconds_of, (*source.trials, *source.finished)))
    workers = source.num_workers
    worker_seconds = None if workers is None else seconds * workers
    return Cost(
        trials=Counter(str(trial.record.status) for trial in source.trials),
        num_finished=len(source.finished),
        seconds=seconds,
        worker_seconds=worker_seconds,
        gpu_seconds=None if worker_seconds is None else worker_seconds * source.gpus_per_worker,
    )


def seconds_of(run: RunView) -> float:
    """Returns the seconds that a run trained: those of its epochs, or where not all are known from start to end."""
    if run.history and len(run.history) == run.num_epochs and "epoch_seconds" in run.metrics:
        return sum(metrics["epoch_seconds"] for metrics in run.history)
    ended, started = run.record.ended_ms, run.record.started_ms
    return (ended - started) / 1000 if ended and started else 0.0
