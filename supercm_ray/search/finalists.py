"""The finalists: the best parameters of each group and their baseline, run on fresh seeds and evaluated on the test
split.
"""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from supercm_ray.config import Leaf, Study
from supercm_ray.errors import DamagedError
from supercm_ray.records import RunView, StudyFolder, reading
from supercm_ray.search.trials import Group

logger = logging.getLogger(__name__)

TUNED, BASELINE = "tuned", "baseline"
_PLAN = "finalists.json"


@dataclass(frozen=True)
class Finalist:
    """One run on a fresh seed: the overrides of an arm."""

    key: str
    arm: str
    group: Group
    overrides: dict[str, Leaf]

    @property
    def labels(self) -> dict[str, Leaf | list[Leaf]]:
        """The labels by which its record and tracked run are found."""
        return {"arm": self.arm, "group": list(self.group)}


@dataclass(frozen=True)
class Row:
    """A row of the study's table: an arm in a group, with mean and standard deviation over seeds.

    Attributes:
        group: the values of the study's group paths.
        label_budget: number of labels used, those for validation included.
        num_labeled: number of labels trained on.
        num_runs: number of seeds that finished, of `num_seeds`.
        test_accuracy: None if there is no test split.
        gains: tuned minus baseline by seed, on the test split or, if there is none, on the validation split; empty for
            the baseline itself.
        metrics: every metric of the validation and the test split that all seeds have, by name.
    """

    group: Group
    arm: str
    overrides: dict[str, Leaf]
    label_budget: int
    num_labeled: int
    num_runs: int
    num_seeds: int
    val_accuracy: tuple[float, float]
    test_accuracy: tuple[float, float] | None
    gains: tuple[float, ...]
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def plan_finalists(study: Study, best: Mapping[Group, Mapping[str, Leaf]]) -> list[Finalist]:
    """Plans the final runs, on the seeds that follow the base's own, on which the best parameters were chosen."""
    arms: dict[str, Mapping[str, Leaf]] = {TUNED: {}, **({BASELINE: study.baseline} if study.baseline else {})}
    return [
        on_seed(study, "finalists", group, arm, {**params, **overrides, "seed": seed})
        for group, params in best.items()
        for arm, overrides in arms.items()
        for seed in study.finalist_seeds
    ]


def save_plan(folder: StudyFolder, finalists: Sequence[Finalist]) -> None:
    """Stores the plan of finalists."""
    folder.write(_PLAN, json.dumps([asdict(finalist) for finalist in finalists], indent=1))


def load_plan(folder: StudyFolder) -> list[Finalist] | None:
    """Reads the plan of finalists, or returns None if the search has not ended or the plan is damaged, since it follows
    from the trials.
    """
    path = folder.path / _PLAN
    try:
        with reading(path, "it is made anew from the trials"):
            text = folder.read(_PLAN)
            if not text:
                return None
            found = [
                Finalist(one["key"], one["arm"], tuple(one["group"]), one["overrides"]) for one in json.loads(text)
            ]
            for finalist in found:
                folder.run(finalist.key)
            return found
    except DamagedError as error:
        logger.warning("%s", error)
        return None


def table(study: Study, finalists: Sequence[Finalist], runs: Mapping[str, RunView]) -> list[Row]:
    """Returns the rows for these finalists, by group and arm, from the runs of the study by key."""
    members: dict[tuple[Group, str], list[Finalist]] = {}
    for finalist in finalists:
        members.setdefault((finalist.group, finalist.arm), []).append(finalist)
    rows = []
    for (group, arm), ours in members.items():
        done = _complete(ours, runs)
        if not done:
            continue
        baseline = _complete(members.get((group, BASELINE), []), runs) if arm == TUNED else []
        tested = [run.record.summary["test/accuracy"] for run in done if "test/accuracy" in run.record.summary]
        rows.append(
            Row(
                group=group,
                arm=arm,
                overrides={path: value for path, value in ours[0].overrides.items() if path != "seed"},
                label_budget=done[0].record.label_budget,
                num_labeled=done[0].record.num_labeled,
                num_runs=len(done),
                num_seeds=len(ours),
                val_accuracy=_mean_std([run.metrics["val/accuracy"] for run in done]),
                test_accuracy=_mean_std(tested) if len(tested) == len(done) else None,
                gains=_paired_gains(done, baseline),
                metrics=_metrics(done),
            )
        )
    return rows


def _complete(finalists: Sequence[Finalist], runs: Mapping[str, RunView]) -> list[RunView]:
    found = (runs.get(finalist.key) for finalist in finalists)
    return [run for run in found if run is not None and run.record.status == "complete"]


def on_seed(study: Study, folder: str, group: Group, arm: str, overrides: dict[str, Leaf]) -> Finalist:
    """Returns the run of an arm with these overrides, a seed among them, in a folder below the study's."""
    digest = config_digest(study, overrides)[:6]
    place = "".join(f"{path.split('.')[-1]}={value}-" for path, value in zip(study.group_paths, group, strict=True))
    return Finalist(f"{folder}/{place}{arm}-seed{overrides['seed']}-{digest}", arm, group, overrides)


def config_digest(study: Study, overrides: Mapping[str, Leaf]) -> str:
    """Returns a hash of the whole configuration of a run with these overrides, its seed included."""
    leaves = study.base.replace(overrides).leaves()
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()


def _metrics(runs: Sequence[RunView]) -> dict[str, tuple[float, float]]:
    found = [{**run.metrics, **run.record.summary} for run in runs]
    names = [name for name in found[0] if name.startswith(("val/", "test/")) and all(name in one for one in found)]
    return {name: _mean_std([one[name] for one in found]) for name in names}


def _paired_gains(tuned: Sequence[RunView], baseline: Sequence[RunView]) -> tuple[float, ...]:
    others = {run.record.params["seed"]: _accuracy(run) for run in baseline}
    pairs = [(_accuracy(run), others.get(run.record.params["seed"])) for run in tuned]
    return tuple(ours - theirs for ours, theirs in pairs if theirs is not None)


def _accuracy(run: RunView) -> float:
    """Returns the accuracy on the test split or, if there is none, on the validation split."""
    return run.record.summary.get("test/accuracy", run.metrics["val/accuracy"])


def _mean_std(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")
