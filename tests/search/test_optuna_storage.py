"""Optuna's storage follows the records: opened again and again, lost, changed, garbled, behind, or held by others."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from supercm_ray.config import Leaf, Study, load_study
from supercm_ray.errors import StorageError
from supercm_ray.records import EpochMetrics, RunRecord, Status, StudyFolder
from supercm_ray.search import Proposal, StudyView, TrialSource
from supercm_ray.search.optuna_storage import OptunaStore
from supercm_ray.search.trials import STATES

WEIGHT = "algorithm.clustering_weight"


@dataclass
class Search:
    """A study of eight trials whose runs are made up: what they say depends on their parameters alone."""

    study: Study
    folder: StudyFolder

    def source(self) -> TrialSource:
        """Proposals as a new command gets them."""
        return TrialSource(self.study, self.folder, StudyView.read(self.study, self.folder).trials)

    def run(self, source: TrialSource, num_trials: int, tell: bool = True) -> list[Proposal]:
        """Runs as many trials to an end, of which every third is stopped early; Optuna may be left without a word."""
        made = []
        for _ in range(num_trials):
            proposal = source.next()
            assert proposal is not None
            self.record(proposal, "pruned" if proposal.number % 3 == 2 else "complete", source if tell else None)
            made.append(proposal)
        return made

    def record(self, proposal: Proposal, status: Status, source: TrialSource | None = None) -> None:
        run = self.folder.run(f"trials/{proposal.number:04d}")
        run.write(RunRecord(run.key, "trial", dict(proposal.params), {}, 1))
        for epoch in range(1, 3 if status == "complete" else 2):
            metrics = {"val/accuracy": float(proposal.params[WEIGHT]) / 10 + epoch / 100}
            run.append({"epoch": epoch, **metrics})
            if source:
                source.report(proposal.number, EpochMetrics(epoch, metrics))
        record = run.record()
        assert record is not None
        run.write(
            record if status == "running" else record.ended(status, "stopped early" if status == "pruned" else "")
        )
        view = run.view()
        assert view is not None
        if source:
            source.tell(view)

    def trials(self) -> list[FrozenTrial]:
        return optuna.load_study(study_name=self.study.name, storage=self.folder.optuna_url).trials

    @property
    def database(self) -> Path:
        return self.folder.path / "optuna.db"

    def check_agreement(self) -> None:
        """Optuna's trials are those of the records, with their parameters, values, epochs and reasons."""
        views = StudyView.read(self.study, self.folder).trials
        trials = [trial for trial in self.trials() if trial.state != TrialState.WAITING]
        assert [trial.number for trial in trials] == [view.number for view in views]
        for trial, view in zip(trials, views, strict=True):
            assert trial.params == view.record.overrides
            assert trial.state == STATES.get(view.record.status, TrialState.RUNNING)
            epochs = {int(metrics["epoch"]): metrics["val/accuracy"] for metrics in view.history}
            if trial.state != TrialState.RUNNING:
                assert trial.intermediate_values == epochs
                assert trial.user_attrs.get("reason", "") == view.record.reason
            if trial.state == TrialState.COMPLETE:
                assert trial.values == [view.metrics["val/accuracy"]]


@pytest.fixture
def search(tmp_path: Path, small_study: Path) -> Search:
    text = small_study.read_text()
    start, end = text.index("objective:"), text.index("budget:")
    objective = "objective: {metric: val/accuracy, direction: maximize}\n"
    small_study.write_text(f"{text[:start]}{objective}{text[end:]}")
    study = load_study(small_study, ["budget.num_trials=8", "training.num_epochs=2"])
    return Search(study, StudyFolder.open(tmp_path, study.name, study.identity()))


def weights(proposals: list[Proposal]) -> list[Leaf]:
    return [proposal.params[WEIGHT] for proposal in proposals]


def test_enqueued_trials_are_handed_out_once(search: Search) -> None:
    for _ in range(3):
        source = search.source()
        assert source.num_left == 8
    assert [trial.state for trial in search.trials()] == [TrialState.WAITING]
    (first,) = search.run(source, 1)
    assert first.params == search.study.enqueued_trials[0]
    source = search.source()
    assert source.num_left == 7
    (second,) = search.run(source, 1)
    assert second.params != first.params, "an enqueued trial that was tried is not tried again"


def test_a_study_is_resumed_where_it_stood(search: Search) -> None:
    source = search.source()
    search.run(source, 2)
    interrupted = source.next()
    assert interrupted is not None
    search.record(interrupted, "running")
    again = search.source()
    assert again.num_left == 8 - 2
    assert again.next() == interrupted, "a trial that was interrupted keeps its number and its parameters"
    search.check_agreement()


def test_a_trial_killed_before_its_record_keeps_its_parameters(search: Search) -> None:
    proposal = search.source().next()
    assert proposal == search.source().next()


def test_a_trial_killed_before_its_parameters_is_given_some(search: Search) -> None:
    """A kill may come after Optuna numbered a trial and before it sampled it."""
    source = search.source()
    search.run(source, 1)
    OptunaStore(search.study, search.folder).optuna.ask()
    proposal = search.source().next()
    assert proposal is not None
    assert proposal.number == 1
    assert proposal.params.keys() == search.study.space.keys()


def test_no_more_trials_than_the_budget_are_handed_out(search: Search) -> None:
    source = search.source()
    made = search.run(source, 8)
    assert (source.num_left, source.next()) == (0, None)
    assert (search.source().num_left, search.source().next()) == (0, None)
    assert [proposal.number for proposal in made] == list(range(8))


def test_a_resumed_sampler_proposes_nothing_twice(search: Search) -> None:
    made = [*search.run(search.source(), 4), *search.run(search.source(), 2), *search.run(search.source(), 2)]
    assert len(set(weights(made))) == 8
    search.check_agreement()


def forget(search: Search) -> None:
    search.database.unlink()


def change(search: Search) -> None:
    """Another value of a parameter, as by a hand or by another command."""
    with sqlite3.connect(search.database) as connection:
        connection.execute("UPDATE trial_params SET param_value = 4.5 WHERE param_name = ?", (WEIGHT,))


def contradict(search: Search) -> None:
    """Another end than the record has."""
    with sqlite3.connect(search.database) as connection:
        connection.execute("UPDATE trials SET state = 'FAIL' WHERE number = 1")


def add(search: Search) -> None:
    """A trial of which there is no record."""
    store = OptunaStore(search.study, search.folder)
    number, _ = store.ask()
    store.optuna.tell(number, 0.99)


def replace_by_another(search: Search) -> None:
    """The database of a study of the same name that has begun anew."""
    search.database.unlink()
    OptunaStore(search.study, search.folder).optuna.ask()


@pytest.mark.parametrize("damage", [forget, change, contradict, add, replace_by_another])
def test_what_differs_from_the_records_is_made_anew_and_said(
    search: Search, damage: Callable[[Search], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = search.run(search.source(), 4)
    damage(search)
    with caplog.at_level(logging.WARNING):
        source = search.source()
    assert "does not hold what the records of 4 trials say; it is made anew from them" in caplog.text
    search.check_agreement()
    assert not [trial for trial in search.trials() if trial.state == TrialState.WAITING], "enqueued trials have run"
    after = search.run(source, 4)
    assert [proposal.number for proposal in after] == [4, 5, 6, 7]
    assert not set(weights(before)) & set(weights(after)), "no trial is proposed twice"
    search.check_agreement()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096, None])
def test_a_garbled_file_is_moved_away_and_said(
    search: Search, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    before = search.run(search.source(), 4)
    garbled = search.database.read_bytes()[:10_000] if content is None else content
    search.database.write_bytes(garbled)
    with caplog.at_level(logging.WARNING):
        source = search.source()
    assert "optuna.broken.db" in caplog.text
    assert search.database.with_name("optuna.broken.db").read_bytes() == garbled, "nothing is thrown away"
    search.check_agreement()
    assert not set(weights(before)) & set(weights(search.run(source, 4)))
    search.check_agreement()


OTHERWISE_BROKEN = {
    "half made": ("DROP TABLE trial_params", "DROP TABLE trials", "DELETE FROM alembic_version"),
    "of another version": ("UPDATE alembic_version SET version_num = 'v2.6.0.a'",),
    "of a later version": ("UPDATE alembic_version SET version_num = 'v99'",),
    "without its trials": ("DROP TABLE trial_params",),
    "with values that are none": ("UPDATE trial_params SET distribution_json = '{'",),
}


@pytest.mark.parametrize("kind", OTHERWISE_BROKEN)
def test_a_database_that_optuna_cannot_use_is_made_anew(
    search: Search, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    search.run(search.source(), 3)
    with contextlib.closing(sqlite3.connect(search.database)) as database, database:
        for command in OTHERWISE_BROKEN[kind]:
            database.execute(command)
    with caplog.at_level(logging.WARNING):
        source = search.source()
    assert "was moved to optuna.broken.db" in caplog.text or "is made anew from them" in caplog.text
    search.check_agreement()
    search.run(source, 5)
    search.check_agreement()


def test_what_a_kill_left_while_it_was_made_does_not_matter(search: Search) -> None:
    for name in (".optuna.db.partial", "optuna.db"):  # of this version, and the empty file of an earlier one
        (search.folder.path / name).touch()
    search.run(search.source(), 1)
    search.check_agreement()
    assert not list(search.folder.path.glob(".*"))


def test_a_lock_that_is_held_for_too_long_is_one_line(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    search.run(search.source(), 1)
    monkeypatch.setattr("supercm_ray.search.optuna_storage._LOCK_TIMEOUT_S", 0.1)
    blocker = sqlite3.connect(search.database, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with contextlib.closing(blocker), pytest.raises(StorageError, match=r"got: database is locked; end the program"):
        search.source()


def test_a_trial_that_ended_unheard_is_told(search: Search, caplog: pytest.LogCaptureFixture) -> None:
    """A kill may come between the record and Optuna, and Optuna's storage may fail for a while."""
    source = search.source()
    search.run(source, 1)
    search.run(source, 3, tell=False)
    assert [trial.state for trial in search.trials()][1:] == [TrialState.RUNNING] * 3
    with caplog.at_level(logging.WARNING):
        again = search.source()
    assert not caplog.text, "this is not worth a warning"
    assert again.num_left == 4
    search.check_agreement()


@pytest.mark.parametrize("with_storage", [False, True])
def test_a_lost_record_is_said_and_its_number_not_given_again(
    search: Search, with_storage: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers are folders, which may still hold what is left of a trial."""
    search.run(search.source(), 3)
    (search.folder.run("trials/0001").path / "run.json").unlink()
    if with_storage:
        search.database.unlink()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            source = search.source()
        assert caplog.text.count("made anew") == 1
        states = [trial.state for trial in search.trials()][:3]
        assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert source.num_left == 8 - 2, "another trial takes its place"
    assert [proposal.number for proposal in search.run(source, 6)] == [3, 4, 5, 6, 7, 8]
    assert source.next() is None


def test_a_lock_that_another_program_holds_is_waited_for(search: Search) -> None:
    source = search.source()
    proposal = source.next()
    assert proposal is not None
    blocker = sqlite3.connect(search.database, check_same_thread=False, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(3.0, lambda: blocker.execute("ROLLBACK"))
    began = time.monotonic()
    timer.start()
    search.record(proposal, "complete", source)
    assert time.monotonic() - began > 2
    timer.join()
    blocker.close()
    search.check_agreement()


def test_a_pruned_trial_agrees_although_optuna_gives_it_a_value(
    search: Search, caplog: pytest.LogCaptureFixture
) -> None:
    search.run(search.source(), 3)  # the third is stopped early
    with caplog.at_level(logging.WARNING):
        search.source()
    assert not caplog.text


@pytest.mark.parametrize("tell", [True, False], ids=["told", "rebuilt"])
def test_pruned_trial_of_two_objectives_has_values(small_study: Path, tmp_path: Path, tell: bool) -> None:
    """Optuna takes no value for such a trial, so that its pages show these attributes."""
    study = load_study(small_study)
    assert len(study.objective) == 2
    search = Search(study, StudyFolder.open(tmp_path / "results", study.name, study.identity()))
    search.run(search.source(), 3, tell=tell)
    search.source()
    pruned = search.trials()[2]
    last = StudyView.read(study, search.folder).trials[2].metrics["val/accuracy"]
    assert (pruned.state, pruned.values) == (TrialState.PRUNED, None)
    assert pruned.user_attrs == {"reason": "stopped early", "val/accuracy": last}
