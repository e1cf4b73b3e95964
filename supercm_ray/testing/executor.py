"""What every executor promises. A test class inherits `ExecutorContract` and gives the executor as a fixture.

class TestMine(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return MyExecutor()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest

from supercm_ray.config import Config, Leaf, Study
from supercm_ray.data import load_dataset
from supercm_ray.execution.attempts import job_of
from supercm_ray.execution.executor import Executor, Phase, Run
from supercm_ray.execution.place import Needs
from supercm_ray.execution.recorder import NullCallback, Recorder
from supercm_ray.records import EpochMetrics, Message, Predictions, RunFailed, StudyFolder

NUM_EPOCHS = 3


def tiny_study() -> Study:
    """Returns a study whose runs train in a second: few steps of a small network on digits."""
    base = Config.model_validate_json(
        '{"data": {"name": "digits", "labels_per_class": 2},'
        ' "training": {"num_epochs": 3, "steps_per_epoch": 2, "labeled_batch_size": 10, "unlabeled_batch_size": 10}}'
    )
    return Study(name="tiny", base=base)


@dataclass
class ListQueue:
    """A queue of given runs that remembers their messages.

    Attributes:
        stop_at: the epoch after which a run is stopped, by key.
        on_take: called with each message.
    """

    recorder: Recorder
    runs: list[Run]
    stop_at: dict[str, int] = field(default_factory=dict)
    on_take: Callable[[Message], None] = lambda message: None
    messages: list[tuple[str, Message]] = field(default_factory=list)
    ends: list[tuple[str, RunFailed | None]] = field(default_factory=list)

    @property
    def num_left(self) -> int:
        """Number of runs not handed out yet."""
        return len(self.runs)

    def next(self) -> Run | None:
        """Starts the record of the next run and returns it."""
        if not self.runs:
            return None
        return self.recorder.begin(self.runs.pop(0))

    def take(self, run: Run, message: Message) -> bool:
        """Remembers a message once and returns whether the run is stopped."""
        if (run.key, message.order) not in {(key, one.order) for key, one in self.messages}:
            self.messages.append((run.key, message))
        self.on_take(message)
        return message.epoch >= self.stop_at.get(run.key, NUM_EPOCHS + 1)

    def end(self, run: Run, failure: RunFailed | None) -> None:
        """Remembers how a run ended."""
        self.ends.append((run.key, failure))

    def epochs(self, key: str) -> list[int]:
        """Returns the epochs that a run reported, in order."""
        return [one.epoch for name, one in self.messages if name == key and isinstance(one, EpochMetrics)]


class ExecutorContract:
    """Tests that every epoch comes once and in order, followed by the predictions; that ends, stops and failures are
    reported; and that closing frees resources.
    """

    @pytest.fixture
    def executor(self) -> Executor:
        """Returns the executor under test; to be overridden."""
        raise NotImplementedError

    @pytest.fixture
    def recorder(self, tmp_path: Path) -> Recorder:
        """Returns a recorder of a tiny study."""
        study = tiny_study()
        folder = StudyFolder.open(tmp_path / "results", study.name, study.identity())
        return Recorder(study, folder, load_dataset(study.base.data), NullCallback(), lambda key: None)

    def phase(self, recorder: Recorder) -> Phase:
        """Returns a phase whose runs read the test split."""
        return Phase("finalists", recorder.study, recorder.folder, recorder.dataset, evaluate_test=True)

    def test_a_single_run_tells_its_epochs_then_its_predictions(self, executor: Executor, recorder: Recorder) -> None:
        """A run that is closed ends; started again it continues from its checkpoint and reports everything."""
        run = recorder.begin(Run("train/tiny", "train"))
        job = job_of(recorder.folder, run, recorder.study.base, recorder.dataset, evaluate_test=True)
        budget = recorder.study.budget
        with executor.session(Needs(budget)) as place:
            assert place.where
            with closing(executor.run(job, budget)) as messages:
                first = list(islice(messages, 1))
            again = list(executor.run(job, budget))
        assert first[0] == again[0], "an epoch that was trained is not trained again"
        assert [one.epoch for one in again if isinstance(one, EpochMetrics)] == list(range(1, NUM_EPOCHS + 1))
        assert isinstance(again[-1], Predictions)
        assert len(again[-1].arrays["predictions"]) == len(job.splits.test)

    def test_a_queue_is_run_to_its_end(self, executor: Executor, recorder: Recorder) -> None:
        """A queue with complete runs, one that is stopped early, and one that diverges; each is ended once."""
        diverging: dict[str, Leaf] = {"training.learning_rate": 1e30}
        runs = [Run("a/whole", "trial"), Run("a/stopped", "trial"), Run("a/diverges", "trial", diverging)]
        runs.append(Run("a/seed", "trial", {"seed": 1}))
        queue = ListQueue(recorder, runs, stop_at={"a/stopped": 1})
        with executor.session(Needs(recorder.study.budget)):
            assert executor.capacity(recorder.study.budget) >= 1
            executor.run_all(self.phase(recorder), queue)
        assert Counter(key for key, _ in queue.ends) == Counter(["a/whole", "a/stopped", "a/diverges", "a/seed"])
        for key in ("a/whole", "a/seed"):
            assert queue.epochs(key) == list(range(1, NUM_EPOCHS + 1))
            assert [type(one) for name, one in queue.messages if name == key][-1] is Predictions
        assert queue.epochs("a/stopped") == [1]
        failures = {key: failure for key, failure in queue.ends if failure is not None}
        assert failures.keys() == {"a/diverges"}
        assert "the training loss became" in failures["a/diverges"].reason
        assert not failures["a/diverges"].by_process

    def test_stop_ends_what_is_running(self, executor: Executor, recorder: Recorder) -> None:
        """After `stop`, as after Ctrl-C, interrupted runs are left open, and what they held is free for others."""
        queue = ListQueue(recorder, [Run("a/one", "trial"), Run("a/two", "trial")])
        queue.on_take = lambda message: executor.stop()
        with executor.session(Needs(recorder.study.budget)):
            with pytest.raises(KeyboardInterrupt):
                executor.run_all(self.phase(recorder), queue)
            assert len(queue.ends) < 2
            others = ListQueue(recorder, [Run("a/three", "trial")])
            executor.run_all(self.phase(recorder), others)
        assert [key for key, _ in others.ends] == ["a/three"]
