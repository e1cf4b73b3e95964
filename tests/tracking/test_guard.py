"""The one guard: whatever a tracker raises, a study goes on, shows its result, and ends as it would have."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

import supercm_ray
from supercm_ray import api
from supercm_ray.config import Study, load_study
from supercm_ray.errors import StudyError, TrackingError
from supercm_ray.execution import environment
from supercm_ray.execution.environment import withheld
from supercm_ray.execution.recorder import NullCallback
from supercm_ray.records import Status, StudyFolder
from supercm_ray.testing.tracker import KEY, small_model, write_run
from supercm_ray.tracking import TRACKERS, BackgroundTracker, TrackedModel, background
from supercm_ray.tracking.composite import CompositeTracker
from supercm_ray.tracking.null import NullTracker

guard = sys.modules[BackgroundTracker.__module__]  # its name in the package is that of a function

ERRORS: dict[str, Callable[[], Exception]] = {
    "mlflow": lambda: MlflowException("the server is away"),
    "database": lambda: OperationalError("INSERT", {}, Exception("database is locked")),
    "network": lambda: requests.ConnectionError("http://user:topsecret@tracking:5000 refused"),
    "key": lambda: KeyError("train/d"),
    "bug": ZeroDivisionError,
}


class Broken:
    """Fails in every method from the given call on. Notes what was called."""

    def __init__(self, error: Callable[[], Exception], working_calls: int = 0, opens: bool = True) -> None:
        self.error, self.working_calls, self.opens = error, working_calls, opens
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) > self.working_calls:
            raise self.error()

    @property
    def uri(self) -> str:
        self._call("uri")
        return "broken://user:topsecret@place"

    @property
    def how_to_open(self) -> str:
        self._call("how_to_open")
        return ""

    def open_study(self) -> str:
        if not self.opens:
            raise self.error()
        return "parent"

    def attach_study(self) -> bool:
        self._call("attach_study")
        return True

    def sync(self, key: str) -> None:
        self._call("sync")

    def sync_all(self) -> None:
        self._call("sync_all")

    def close_study(self, status: Status) -> None:
        self._call("close_study")

    def log_files(self, files: Mapping[Path, str]) -> None:
        self._call("log_files")

    def log_note(self, text: str) -> None:
        self._call("log_note")

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._call("log_metrics")

    def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
        self._call("log_model")
        return "model"

    def register_model(self, uri: str, name: str) -> str:
        self._call("register_model")
        return "1"

    def run_id(self, key: str | None = None) -> str:
        self._call("run_id")
        return "run"


class Forgetful(Broken):
    """Refuses the first calls of `sync` and takes the rest, as a server that is restarted."""

    def sync(self, key: str) -> None:
        if self.calls.count("sync") < 3:
            self.working_calls = len(self.calls)
            self._call("sync")
        self.working_calls = 10**6


@pytest.fixture(params=list(ERRORS))
def error(request: pytest.FixtureRequest) -> Callable[[], Exception]:
    return ERRORS[request.param]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="supercm_ray"):
        yield caplog


def call_everything(tracker: BackgroundTracker) -> list[object]:
    return [
        tracker.sync(KEY),
        tracker.sync_all(),
        tracker.attach_study(),
        tracker.log_files({Path("page.html"): ""}),
        tracker.log_metrics({}),
        tracker.log_model(small_model()),
        tracker.run_id(KEY),
        tracker.run_id(),
        tracker.close_study("complete"),
    ]


def test_no_method_lets_an_error_through(error: Callable[[], Exception], warnings: pytest.LogCaptureFixture) -> None:
    broken = Broken(error)
    with background(broken) as tracker:
        assert (tracker.uri, tracker.how_to_open, tracker.open_study()) == ("", "", "parent")
        assert call_everything(tracker) == [None, None, True, None, None, "", "", "", None]
    assert call_everything(tracker)[2] is True, "also after its end"
    assert {"sync", "sync_all", "log_files", "log_metrics", "log_model", "run_id", "close_study"} <= set(broken.calls)
    first, last = warnings.messages
    assert first.startswith("the tracker does not take what it is sent, the study goes on and sends it later: ")
    assert last == (
        "the tracker lacks a part of this study, whose results are whole: epochs or states of runs, the study's run, "
        "page.html, the study's metrics, the model of trials/0000, the study's status; the same command sends it"
    )
    assert "topsecret" not in warnings.text


@pytest.mark.parametrize("working_calls", range(11))
def test_a_tracker_may_break_at_any_call(working_calls: int, warnings: pytest.LogCaptureFixture) -> None:
    with background(Broken(ERRORS["key"], working_calls)) as tracker:
        tracker.open_study()
        call_everything(tracker)
    assert len(warnings.messages) == 2
    assert "topsecret" not in warnings.text


def test_what_is_made_up_for_in_the_end_is_not_lacking(warnings: pytest.LogCaptureFixture) -> None:
    with background(Forgetful(ERRORS["mlflow"], 10**6)) as tracker:
        for _ in range(5):
            tracker.sync(KEY)
            tracker.flush()
    assert len(warnings.messages) == 1, warnings.messages


def test_opening_refuses_a_tracker_that_cannot_be_used(error: Callable[[], Exception]) -> None:
    with (
        background(Broken(error, 10**6, opens=False)) as tracker,
        pytest.raises(
            TrackingError, match=r"^the tracker must be usable at broken://\*\*\*@place, got: .+SUPERCM_TRACK"
        ),
    ):
        tracker.open_study()


def test_a_tracker_that_ends_the_thread_does_not_hang(study: Study, folder: StudyFolder) -> None:
    class Incomplete:
        """A plug-in's that lacks every method."""

    with background(Incomplete()) as tracker:  # type: ignore[arg-type]
        call_everything(tracker)


def test_one_broken_tracker_of_several_keeps_nothing_from_the_others() -> None:
    works = Broken(ERRORS["key"], 10**6)
    with background(CompositeTracker([Broken(ERRORS["mlflow"]), works, NullTracker()])) as tracker:
        call_everything(tracker)
    assert {"sync", "sync_all", "log_files", "log_metrics", "log_model", "run_id", "close_study"} <= set(works.calls)


SMALL = """\
base:
  data: {name: digits, label_ratio: 0.1}
  model: {name: mlp, options: {channels: [4]}}
  training: {num_epochs: 2, steps_per_epoch: 2, device: cpu}
space: {algorithm.clustering_weight: {type: categorical, choices: [0.5, 1.0]}}
budget: {num_trials: 2}
scheduler: {name: none}
num_seeds: 1
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    """A study of seconds whose tracker breaks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERCM_TRACKING", raising=False)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + "tracking: broken\n", encoding="utf-8")
    yield load_study(path)
    TRACKERS.remove("broken")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["mlflow", "database", "network", "key"])
def test_train_gives_its_result_whatever_its_tracker_raises(small: Study, kind: str) -> None:
    TRACKERS.add("broken", lambda study, folder: Broken(ERRORS[kind]))
    result = supercm_ray.train(small)
    assert {"val/accuracy", "train/loss"} <= set(result.metrics)
    assert Path(result.checkpoint).exists()
    assert (result.tracking_uri, result.run_id, result.model_uri, result.how_to_open) == ("", "", "", "")


@pytest.mark.filterwarnings("ignore")
def test_tune_and_report_give_theirs(small: Study, warnings: pytest.LogCaptureFixture) -> None:
    TRACKERS.add("broken", lambda study, folder: Broken(ERRORS["network"]))
    result = supercm_ray.tune(small, executor="in-process", plots=False)
    assert result.counts == {"complete": 2}
    assert not result.failed_finalists
    assert result.rows
    assert (result.run_id, result.model_uri) == ("parent", "")
    assert api.report("small").text == result.report.text
    assert sum("lacks a part of this study" in message for message in warnings.messages) == 2
    assert "topsecret" not in warnings.text


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_that_cannot_be_opened_is_refused_before_anything_runs(small: Study, tmp_path: Path) -> None:
    def refusing(study: Study, folder: StudyFolder) -> Broken:
        raise ConnectionError("http://user:topsecret@place refused")

    TRACKERS.add("broken", refusing)
    with pytest.raises(TrackingError, match=r"`broken`, got: ConnectionError: http://\*\*\*@place refused"):
        supercm_ray.train(small)
    assert not list(tmp_path.rglob("run.json"))


class Hanging(Broken):
    """Works for some calls and never answers from then on."""

    def __init__(self, working_calls: int) -> None:
        super().__init__(TimeoutError, 10**6)
        self.works = working_calls

    def _call(self, name: str) -> None:
        super()._call(name)
        if len(self.calls) > self.works:
            threading.Event().wait()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE_S", 0.4)
    monkeypatch.setattr(guard, "_MODEL_PATIENCE_S", 0.4)
    monkeypatch.setattr(guard, "_NOTICE_S", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("working_calls", range(2, 10))
def test_a_tracker_that_hangs_is_given_up(working_calls: int, warnings: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    with background(Hanging(working_calls), resend="supercm-ray sync tiny") as tracker:
        call_everything(tracker)
    assert time.monotonic() - began < 3
    assert any(message.startswith("waiting for broken://***@place, at most") for message in warnings.messages)
    assert "; supercm-ray sync tiny sends it, as does the same command" in warnings.messages[-1]


@pytest.mark.usefixtures("impatient")
def test_a_tracker_that_hangs_as_it_is_opened_is_refused() -> None:
    class HangsAtOnce(NullTracker):
        def open_study(self) -> str:
            threading.Event().wait()
            return ""

    with background(HangsAtOnce()) as tracker, pytest.raises(TrackingError, match="no answer within"):
        tracker.open_study()


def test_no_call_follows_long_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a server whose every request ends after a timeout of its own."""
    monkeypatch.setattr(guard, "_LOST_S", 0.2)

    class Slow(NullTracker):
        calls = 0

        def log_files(self, files: Mapping[Path, str]) -> None:
            self.calls += 1
            time.sleep(0.15)
            raise TimeoutError

    slow = Slow()
    with background(slow) as tracker:
        tracker.log_files({Path(str(number)): "" for number in range(9)})
    assert slow.calls == 2


@pytest.mark.filterwarnings("ignore")
def test_the_result_is_shown_before_the_tracker_is_told(small: Study) -> None:
    shown: list[str] = []

    class Late(NullTracker):
        def log_model(self, model: TrackedModel, *, is_best: bool = False) -> str:
            assert shown, "the result is shown by now"
            return "told"

    class Showing(NullCallback):
        def on_result(self, text: str) -> None:
            shown.append(text)

    TRACKERS.add("broken", lambda study, folder: Late())
    assert supercm_ray.train(small, callback=Showing()).model_uri == "told"
    assert "val/accuracy" in shown[0]
    assert supercm_ray.tune(small, executor="in-process", plots=False, callback=Showing()).model_uri == "told"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", ["train", "tune"])
def test_sync_sends_what_is_lacking(small: Study, verb: str, warnings: pytest.LogCaptureFixture) -> None:
    TRACKERS.add("broken", lambda study, folder: Broken(ERRORS["mlflow"]))
    run = {"train": supercm_ray.train, "tune": partial(supercm_ray.tune, executor="in-process", plots=False)}[verb]
    run(small)
    assert "supercm-ray sync results/" in warnings.messages[-1]
    works = Broken(ERRORS["mlflow"], 10**6)
    TRACKERS.add("broken", lambda study, folder: works)
    warnings.clear()
    supercm_ray.sync("small")
    assert not warnings.messages
    assert {"sync", "log_model"} <= set(works.calls)
    if verb == "tune":
        assert {"attach_study", "log_files", "log_metrics", "close_study"} <= set(works.calls)
    with pytest.raises(StudyError, match=r"a study to sync must be a folder, .*, got none for 'other'"):
        supercm_ray.sync("other")


def test_a_run_is_written_only_by_the_thread(study: Study, folder: StudyFolder) -> None:
    write_run(folder, study)
    seen: list[str] = []

    class Noting(NullTracker):
        def sync(self, key: str) -> None:
            seen.append(threading.current_thread().name)

        def run_id(self, key: str | None = None) -> str:
            seen.append(threading.current_thread().name)
            return ""

    with background(Noting()) as tracker:
        tracker.sync(KEY)
        tracker.run_id(KEY)
    assert seen == ["tracker", "tracker"]


def test_no_call_lacks_variables_that_are_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while Ray is started, whose processes must not inherit a tracker's password."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a password")

    class Signing(NullTracker):
        used: list[str | None] = []

        def sync(self, key: str) -> None:
            self.used.append(os.environ.get("MLFLOW_TRACKING_PASSWORD"))

    with background(Signing()) as tracker:
        with withheld(lambda name, value: value == "a password"):
            assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
            tracker.sync(KEY)
            time.sleep(0.1)
        tracker.flush()
    assert Signing.used == ["a password"]


def test_a_call_that_hangs_holds_nothing_up_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PATIENCE_S", 0.1)
    monkeypatch.setenv("SECRET_OF_A_TRACKER", "topsecret")
    is_hanging, goes_on = threading.Event(), threading.Event()

    class Hanging(NullTracker):
        def sync(self, key: str) -> None:
            is_hanging.set()
            goes_on.wait()

    with background(Hanging()) as tracker:
        tracker.sync(KEY)
        is_hanging.wait()
        with withheld(lambda name, value: value == "topsecret"):
            assert "SECRET_OF_A_TRACKER" not in os.environ
        assert "SECRET_OF_A_TRACKER" in os.environ
        goes_on.set()
