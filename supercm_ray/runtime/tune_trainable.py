"""One training run inside a Ray Tune process, an epoch a call; the process serves one run after the other."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypedDict, cast

from ray import tune

from supercm_ray.execution.attempts import attempt
from supercm_ray.execution.executor import Executor, Phase, Run
from supercm_ray.records import EpochMetrics, Message, RunFailed


class TrialConfig(TypedDict):
    """What Tune hands to a process for one trial."""

    run: Run


class TrialResult(TypedDict):
    """What a process hands to Tune at each step: the messages of the run since the step before."""

    messages: tuple[Message, ...]
    done: bool


def messages_of(result: Mapping[str, object] | None) -> tuple[Message, ...]:
    """The messages in a result of Tune's, which adds values of its own."""
    return cast("tuple[Message, ...]", (result or {}).get("messages", ()))


class TrialRunner(tune.Trainable):
    """Runs the run that its configuration holds: in this process, or on several workers of its own."""

    def setup(self, config: TrialConfig, *, phase: Phase, executor: Executor) -> None:
        """Takes what all runs of a phase share, and the executor that trains one of them."""
        self._phase, self._executor = phase, executor
        self._begin(config)

    def reset_config(self, new_config: TrialConfig) -> bool:
        """Begins another run in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Ends the run, wherever it stands, and frees what it held."""
        self._messages.close()

    def _begin(self, config: TrialConfig) -> None:
        self._messages: Generator[Message] = attempt(self._executor, self._phase, config["run"])

    def step(self) -> TrialResult:
        """The metrics of the next epoch, with the last one whatever follows it, or the reason why there is none. A
        storage that fails is raised, for Tune to begin the run again from its checkpoint.
        """
        message = next(self._messages)
        if isinstance(message, EpochMetrics) and message.epoch < self._phase.study.base.training.num_epochs:
            return {"messages": (message,), "done": False}
        rest = () if isinstance(message, RunFailed) else tuple(self._messages)
        return {"messages": (message, *rest), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """No-op: a run keeps its checkpoints itself."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """No-op: a run finds its checkpoint itself."""
