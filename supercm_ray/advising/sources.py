"""Reading the runs that a learning curve is made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supercm_ray.config import Leaf
from supercm_ray.records import DataSummary, RunView, SplitDigest, StudyFolder, find_study, read_study, split_digests
from supercm_ray.search import TUNED, StudyView

LABEL_PATHS = ("data.label_ratio", "data.labels_per_class")
"""Dotted paths that say how many samples are labeled."""


@dataclass(frozen=True)
class Source:
    """A study or trained run, as it was read.

    Attributes:
        title: what was named, for a reader.
        file: the study file in its folder, for a command that goes on from it.
        finished: complete runs on fresh seeds: tuned finalists, or trained runs.
        trials: complete trials of the search.
        group_paths: searched paths that are objectives, by which finalists have groups.
        searched: dotted paths in which its runs differ, the seed aside.
        data: the description of the data; empty if it is not known.
    """

    title: str
    file: Path
    folder: StudyFolder
    finished: tuple[RunView, ...]
    trials: tuple[RunView, ...]
    group_paths: tuple[str, ...]
    searched: tuple[str, ...]
    data: DataSummary

    def digests(self, run: RunView) -> dict[str, SplitDigest]:
        """Returns the digests of a run's splits by use; those that are not known are left out."""
        return split_digests(self.folder, run.record)

    def group(self, run: RunView) -> tuple[Leaf, ...]:
        """Returns the values of a run at the group paths."""
        return tuple(run.record.params[path] for path in self.group_paths)


def find_source(name: str, results: Path) -> Source:
    """Reads the study or trained run with this folder, file or name.

    Raises:
        StudyError: if there is none, or its records are damaged.
    """
    folder = StudyFolder.existing(find_study(name, results, to="advise on"))
    study = read_study(folder.path)
    if (folder.path / "train").is_dir():
        kind, finished, trials = "trained run", (run for run in folder.views() if run.record.kind == "train"), []
    else:
        view = StudyView.read(study, folder)
        kind, trials = "study", view.trials
        finished = (run for run in view.finalists if run.record.labels.get("arm") == TUNED)
    return Source(
        title=f"{study.name}, {kind} {folder.study_id}",
        file=folder.path / "study.yaml",
        folder=folder,
        finished=_complete(finished),
        trials=_complete(trials),
        group_paths=study.group_paths,
        searched=study.varied_paths,
        data=folder.data_summary(),
    )


def _complete(runs: Iterable[RunView]) -> tuple[RunView, ...]:
    """Returns the runs that are complete and say how many labels they were trained on."""
    return tuple(
        run
        for run in runs
        if run.record.status == "complete" and run.val_accuracy is not None and run.record.num_labeled > 0
    )
