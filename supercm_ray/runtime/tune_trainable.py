"""One training run inside a Ray Tune process, one epoch per call; the process is reused for one run after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypedDict, cast

from ray import tune

from supercm_ray.errors import StorageError
from supercm_ray.execution.attempts import RETRIES, attempt
from supercm_ray.execution.executor import Executor, Phase, Run
from supercm_ray.records import EpochMetrics, Message, RunFailed


class TrialConfig(TypedDict):
    """The configuration that Tune passes to a process for one trial."""

    run: Run
    left_out: tuple[str, ...]
    """Ids of nodes that the trial and its workers are not to be placed on."""


class TrialResult(TypedDict):
    """The result that a process passes to Tune at each step: the run's messages since the step before."""

    messages: tuple[Message, ...]
    done: bool
    storage_failure: str
    """Why records or checkpoints could not be written, again and again; empty if they could."""


def messages_of(result: Mapping[str, object] | None) -> tuple[Message, ...]:
    """Returns the messages in a result of Tune's, which adds values of its own."""
    return cast("tuple[Message, ...]", (result or {}).get("messages", ()))


class TrialRunner(tune.Trainable):
    """Runs the run in its configuration: in this process, or on workers of its own."""

    def setup(self, config: TrialConfig, *, phase: Phase, make_executor: Callable[[frozenset[str]], Executor]) -> None:
        """Stores what all runs of a phase share, and what makes the executor that trains a run off some nodes."""
        self._phase, self._make_executor = phase, make_executor
        self._begin(config)

    def reset_config(self, new_config: TrialConfig) -> bool:
        """Starts another run in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Ends the run, at whatever epoch, and frees its resources."""
        self._messages.close()

    def _begin(self, config: TrialConfig) -> None:
        self._run, self._storage_failures = config["run"], 0
        self._executor = self._make_executor(frozenset(config["left_out"]))
        self._messages: Generator[Message] = attempt(self._executor, self._phase, self._run)

    def step(self) -> TrialResult:
        """Returns the messages of the next epoch (and those after the last epoch), or the failure. After an error of
        the storage the run goes on from its checkpoint; after several it ends, and its result says so.
        """
        while True:
            try:
                return self._step()
            except StorageError as error:
                self._storage_failures += 1
                if self._storage_failures > RETRIES:
                    return {"messages": (), "done": True, "storage_failure": str(error)}
                self._messages = attempt(self._executor, self._phase, self._run)

    def _step(self) -> TrialResult:
        message = next(self._messages)
        if isinstance(message, EpochMetrics) and message.epoch < self._phase.study.base.training.num_epochs:
            return {"messages": (message,), "done": False, "storage_failure": ""}
        rest = () if isinstance(message, RunFailed) else tuple(self._messages)
        return {"messages": (message, *rest), "done": True, "storage_failure": ""}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """No-op: a run saves its checkpoints itself."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """No-op: a run loads its checkpoint itself."""
