"""What a study needs of the place where it runs, and what an executor says of that place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from supercm_ray.config import Budget, ClusterOptions, Study
from supercm_ray.data import Dataset
from supercm_ray.data.images import Pixels, StreamedImages
from supercm_ray.execution.allotment import alone, cores_allotted
from supercm_ray.records import SessionNode, StudyFolder

DEFAULT_CLUSTER = ClusterOptions()


def _no_news(nodes: tuple[SessionNode, ...]) -> None:
    """No-op."""


@dataclass(frozen=True)
class Needs:
    """What the runs of a study need of where they run.

    Attributes:
        budget: the resources of each run.
        plugins: names of modules that processes import.
        images: images that are read from files wherever a run trains; None if they are sent there.
        storage: the folder or URI below which checkpoints lie; empty if there are none.
        cluster: what is asked of a cluster.
        on_nodes: called with the machines whenever one comes or goes, in any thread.
    """

    budget: Budget
    plugins: tuple[str, ...] = ()
    images: Pixels | StreamedImages | None = None
    storage: str = ""
    cluster: ClusterOptions = DEFAULT_CLUSTER
    on_nodes: Callable[[tuple[SessionNode, ...]], None] = _no_news

    @classmethod
    def of(
        cls,
        study: Study,
        dataset: Dataset,
        folder: StudyFolder,
        cluster: ClusterOptions = DEFAULT_CLUSTER,
        on_nodes: Callable[[tuple[SessionNode, ...]], None] = _no_news,
    ) -> Needs:
        """Returns the needs of a study with this data set."""
        storage = folder.storage("", study.base.training.storage_path)
        return cls(study.budget, study.base.plugins, dataset.images, storage, cluster, on_nodes)


@dataclass(frozen=True)
class Place:
    """Where a study runs.

    Attributes:
        where: one line for people, such as `Ray 2.60 at 10.0.0.1: 3 nodes, 12 CPU, 4 GPU`.
        nodes: the machines; empty if there is this process alone.
    """

    where: str
    nodes: tuple[SessionNode, ...] = ()


def this_process() -> Place:
    """Returns the place of runs in the calling process."""
    return Place(alone("this process", cores_allotted()))
