"""The seam between a study and what runs it: an executor runs jobs, a queue says which and takes in what they say."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from supercm_ray.config import Budget, Leaf, Registry, Study
from supercm_ray.data import Dataset
from supercm_ray.records import Kind, Message, RunFailed, RunFolder, StudyFolder
from supercm_ray.training import Job


@dataclass(frozen=True)
class Run:
    """One training run of a study that is to be made.

    Attributes:
        key: its folder below the study's, which is its name for good.
        kind: what it is part of.
        overrides: what it changes of the study's base, by dotted path.
        labels: its arm and group, and the like, by which its record is found.
    """

    key: str
    kind: Kind
    overrides: Mapping[str, Leaf] = field(default_factory=dict)
    labels: Mapping[str, Leaf | list[Leaf]] = field(default_factory=dict)

    def __str__(self) -> str:
        """The key, by which Tune names files of its own."""
        return self.key


class RunQueue(Protocol):
    """The runs of one phase of a study: hands them out, takes in what they say, and ends them."""

    @property
    def num_left(self) -> int:
        """Runs that are still to be handed out."""

    def next(self) -> Run | None:
        """The run to make next, its record begun; None where there is none left."""

    def take(self, run: Run, message: Message) -> bool:
        """Takes in a message of a run; whether the run is to be stopped now."""

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Ends a run that has finished, was stopped, or failed."""


@dataclass(frozen=True)
class Phase:
    """What all runs of one phase share.

    Attributes:
        name: such as `search`.
        study: whose base every run varies.
        folder: where the runs have their folders.
        dataset: all samples; those of the test split masked unless it is evaluated.
        evaluate_test: whether a finished run reads the test split.
    """

    name: str
    study: Study
    folder: StudyFolder
    dataset: Dataset
    evaluate_test: bool


class Executor(Protocol):
    """Runs jobs: in the calling process, on a Ray cluster, or wherever a plug-in's executor does."""

    def session(self, budget: Budget) -> AbstractContextManager[None]:
        """Holds what runs need for the time of the block, such as a connection to a cluster.

        Raises:
            SuperCMError: where it cannot be had.
        """

    def capacity(self, budget: Budget) -> int:
        """Runs that it makes at once, within what the budget allows.

        Raises:
            StudyError: where not even one fits.
        """

    def run(self, job: Job, budget: Budget, run: RunFolder) -> Generator[Message]:
        """Runs one job and yields what it says, each message once. Closing the generator ends the run.

        Raises:
            SuperCMError: what the job raised.
        """

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        """Runs what a queue hands out, as many at once as fit, until it is empty.

        Raises:
            KeyboardInterrupt: after Ctrl-C, SIGTERM or `stop`; runs that were going on are left open.
        """

    def stop(self) -> None:
        """Has what is running end soon, as after Ctrl-C. May be called from another thread."""


class ExecutorFactory(Protocol):
    """What makes an executor."""

    def __call__(self) -> Executor:
        """A new one."""


EXECUTORS: Registry[ExecutorFactory] = Registry("executor", "executor", "supercm_ray.runtime.executors")
"""Executors by name: `ray`, `in-process`, and those of plug-ins."""
