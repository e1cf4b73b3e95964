"""The interface between a study and what runs it: a queue hands out runs and records their messages, an executor runs
them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from supercm_ray.config import Budget, Leaf, Registry, Study
from supercm_ray.data import Dataset
from supercm_ray.execution.place import Needs, Place
from supercm_ray.records import Kind, Message, RunFailed, StudyFolder, this_machine
from supercm_ray.training import Job


@dataclass(frozen=True)
class Run:
    """One training run of a study.

    Attributes:
        key: its folder below the study's, by which it is identified.
        kind: the kind of run, such as trial or finalist.
        overrides: its differences from the study's base, by dotted path.
        labels: its arm, group and the like, by which its record is found.
        splits: its splits, serialized; empty before its record is begun.
    """

    key: str
    kind: Kind
    overrides: Mapping[str, Leaf] = field(default_factory=dict)
    labels: Mapping[str, Leaf | list[Leaf]] = field(default_factory=dict)
    splits: bytes = field(default=b"", repr=False, compare=False)

    def __str__(self) -> str:
        """Returns the key, which Ray Tune uses in file names."""
        return self.key


class RunQueue(Protocol):
    """The runs of one phase of a study."""

    @property
    def num_left(self) -> int:
        """Number of runs still to be handed out."""

    def next(self) -> Run | None:
        """Starts the record of the next run and returns it, or returns None if there is none left."""

    def take(self, run: Run, message: Message) -> bool:
        """Records a message of a run and returns whether the run is to be stopped now."""

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Ends a run that has finished, was stopped, or failed."""


@dataclass(frozen=True)
class Phase:
    """The inputs that all runs of one phase share.

    Attributes:
        name: the name of the phase, such as `search`.
        study: the study, whose base every run varies.
        folder: the folder in which runs have their folders.
        dataset: all samples; those of the test split are masked unless it is evaluated.
        evaluate_test: whether a finished run reads the test split.
        home: the machine of the process that runs the study.
    """

    name: str
    study: Study
    folder: StudyFolder
    dataset: Dataset
    evaluate_test: bool
    home: str = field(default_factory=this_machine)


class Executor(Protocol):
    """Runs jobs: in the calling process, on a Ray cluster, or as a plug-in does."""

    def session(self, needs: Needs) -> AbstractContextManager[Place]:
        """Holds what runs need within the block, such as a connection to a cluster, and says where they run.

        Raises:
            SuperCMError: if it is not available.
        """

    def capacity(self, budget: Budget) -> int:
        """Returns the number of runs that run at the same time, within the budget.

        Raises:
            StudyError: if not even one fits.
        """

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        """Runs one job and yields its messages, each once. Closing the generator ends the run.

        Raises:
            SuperCMError: the error that the job raised.
        """

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        """Runs everything that a queue hands out, as many at once as fit, until it is empty.

        Raises:
            KeyboardInterrupt: after Ctrl-C, SIGTERM or `stop`; interrupted runs are left open.
            StorageError: if records or checkpoints cannot be written; the runs are left open.
        """

    def stop(self) -> None:
        """Makes `run_all` end soon, as after Ctrl-C. May be called from another thread."""


class ExecutorFactory(Protocol):
    """A function or class that creates an executor."""

    def __call__(self) -> Executor:
        """Creates an executor."""


EXECUTORS: Registry[ExecutorFactory] = Registry("executor", "executor", "supercm_ray.runtime.executors")
"""Executors by name: `ray`, `in-process`, and those of plug-ins."""
