"""A study that chooses between several candidates on fresh seeds: what is trained, what reads the test split, and what
becomes of it after an interruption.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import Place, check_tracked

from supercm_ray import report, tune
from supercm_ray.config import Budget, Config, Study, load_study
from supercm_ray.data import UNLABELED
from supercm_ray.errors import InterruptedStudyError, SuperCMError
from supercm_ray.execution.in_process import InProcessExecutor
from supercm_ray.execution.recorder import NullCallback, Recorder
from supercm_ray.records import LAST, EpochMetrics, Message, RunRecord, StudyFolder
from supercm_ray.search import StudyView
from supercm_ray.training import Job, loop
from supercm_ray.tuning.study import TuneResult
from supercm_ray.watching import read_status

pytestmark = pytest.mark.filterwarnings("ignore")

WEIGHT = "algorithm.clustering_weight"
SEARCHED = {2.0: 0.9, 4.0: 0.8, 0.5: 0.6}
FRESH = {2.0: 0.55, 4.0: 0.75, 0.5: 0.95, 1.0: 0.7}
"""The planted accuracies by weight: the search's best is the worst on fresh seeds; the default's weight is 1."""

STEPS = 3 * 2  # of a run


def planted(config: Config) -> float:
    table, weight = (SEARCHED if config.seed == 0 else FRESH), config.algorithm.clustering_weight
    return table.get(weight, 0.1) + 0.001 * weight * config.seed


class PlantedExecutor(InProcessExecutor):
    """Trains as ever, but reports a planted accuracy; keeps the jobs that it was given."""

    def __init__(self, value: Callable[[Config], float] = planted) -> None:
        super().__init__()
        self.value, self.jobs = value, list[Job]()

    def run(self, job: Job, budget: Budget) -> Generator[Message]:
        self.jobs.append(job)
        for message in super().run(job, budget):
            if isinstance(message, EpochMetrics):
                yield replace(message, metrics={**message.metrics, "val/accuracy": self.value(job.config)})
            else:
                yield message


@pytest.fixture
def path(small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study file: three trials of one group, two candidates and the default, two seeds. Nothing is tracked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPERCM_TRACKING", "none")
    text = small_study.read_text()
    start, end = text.index("space:"), text.index("baseline:")
    searched = f"""\
space:
  {WEIGHT}: {{type: categorical, choices: [0.5, 2.0, 4.0]}}
budget: {{num_trials: 3}}
scheduler: {{name: none}}
enqueued_trials: [{{{WEIGHT}: 0.5}}, {{{WEIGHT}: 2.0}}, {{{WEIGHT}: 4.0}}]
"""
    small_study.write_text(f"{text[:start]}{searched}{text[end:]}num_candidates: 2\n")
    return small_study


@pytest.fixture
def study(path: Path) -> Study:
    return load_study(path)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configuration of each step that is trained."""
    made: list[Config] = []
    step = loop.train_step

    def noted(state: Any, batch: Any) -> Any:
        made.append(state.config)
        return step(state, batch)

    monkeypatch.setattr(loop, "train_step", noted)
    return made


def run(study: Study, executor: InProcessExecutor | None = None, **more: Any) -> TuneResult:
    return tune(study, executor=executor or PlantedExecutor(), plots=False, **more)


def weights(folder: StudyFolder, kind: Any) -> list[tuple[float, int]]:
    return sorted((record.params[WEIGHT], record.params["seed"]) for record in folder.runs(kind))


def check_sealed(folder: StudyFolder) -> None:
    """No trial and no candidate has anything of the test split; each finalist that is complete has."""
    for view in folder.views():
        run = folder.run(view.record.key)
        if view.record.kind == "finalist":
            assert view.record.status != "complete" or "test/accuracy" in view.record.summary
        else:
            assert not view.record.summary
            assert not any(name.startswith("test") for metrics in view.history for name in metrics)
            assert not run.test_predictions.exists()


def test_the_best_on_fresh_seeds_is_chosen_and_alone_reads_the_test_split(study: Study, steps: list[Config]) -> None:
    executor = PlantedExecutor()
    result = run(study, executor)
    assert weights(result.folder, "candidate") == [(w, seed) for w in (1.0, 2.0, 4.0) for seed in (1, 2)]
    assert weights(result.folder, "finalist") == [(0.0, 1), (0.0, 2), (4.0, 1), (4.0, 2)]
    assert {record.status for record in result.folder.runs()} == {"complete"}
    assert [row.overrides[WEIGHT] for row in result.rows] == [4.0, 0.0]
    assert "all trials: better than the default (+5.5 points over 2 seeds" in result.report.text
    page = result.report.html.read_text()
    assert "better than the default" in page
    assert "All 6 runs of candidates" in page
    check_sealed(result.folder)
    for job in executor.jobs:
        known = job.dataset.labels[job.splits.test] != UNLABELED
        assert (job.evaluate_test, known.all()) == ((True, True) if job.evaluate_test else (False, False))
        assert job.evaluate_test or not (known.any() or job.dataset.images[job.splits.test].any())
    tested = [(job.config.algorithm.clustering_weight, job.config.seed) for job in executor.jobs if job.evaluate_test]
    assert sorted(tested) == weights(result.folder, "finalist")


def test_what_a_candidate_has_trained_is_not_trained_again(study: Study, steps: list[Config]) -> None:
    folder = run(study, InProcessExecutor()).folder
    assert len(steps) == STEPS * (3 + 3 * 2 + 2), "trials, candidates and baselines"
    for finalist in (record for record in folder.runs("finalist") if record.labels["arm"] == "tuned"):
        key = next(one.key for one in folder.runs("candidate") if one.params == finalist.params)
        histories = [folder.run(one).history() for one in (key, finalist.key)]
        trained, shown = ([{**one, "timestamp_ms": 0} for one in history] for history in histories)
        assert trained == shown
        assert (folder.run(finalist.key).path / LAST).exists()
    assert not list(folder.path.glob("candidates/*/checkpoint.pt")), "which only finalists need"


def test_the_test_metrics_are_those_of_a_finalist_trained_in_one_go(study: Study, tmp_path: Path) -> None:
    guarded = run(study).rows[0]
    fixed = study.model_copy(update={"num_candidates": 1})
    alone = run(
        fixed,
        PlantedExecutor(lambda config: FRESH.get(config.algorithm.clustering_weight, 0.1)),
        results=tmp_path / "alone",
    )
    assert alone.rows[0].overrides[WEIGHT] == 0.5
    same = run(
        fixed, PlantedExecutor(lambda config: float(config.algorithm.clustering_weight)), results=tmp_path / "same"
    ).rows[0]
    assert same.overrides == guarded.overrides
    assert same.test_accuracy == guarded.test_accuracy


@pytest.mark.parametrize("value", [1.0, 4.0], ids=["the base's own", "a searched one"])
def test_the_default_is_run_once_and_chosen_where_it_is_best(study: Study, value: float) -> None:
    """Also where it is one of the candidates."""
    base = study.base.replace({WEIGHT: value})
    found = dict(SEARCHED) | {4.0: 0.95 if value == 4.0 else 0.8}
    fresh = dict.fromkeys(FRESH, 0.5) | {value: 0.6}
    executor = PlantedExecutor(lambda one: (fresh if one.seed else found).get(one.algorithm.clustering_weight, 0.1))
    result = run(study.model_copy(update={"base": base}), executor)
    assert [record.labels["arm"] for record in result.folder.runs("candidate")].count("default") == 2
    assert len(result.folder.runs("candidate")) == 2 * (3 if value == 1.0 else 2)
    assert result.rows[0].overrides[WEIGHT] == value
    assert result.choices[0].is_default
    assert result.choices[0].num_compared == (3 if value == 1.0 else 2)
    assert "all trials: the default is chosen, the best of" in result.report.text
    assert "untuned SuperCM reaches" in result.report.text


def test_each_group_has_its_own_candidates(study: Study, path: Path) -> None:
    text = path.read_text().replace("budget:", "  data.label_ratio: {type: categorical, choices: [0.05, 0.1]}\nbudget:")
    text = text.replace("num_trials: 3", "num_trials: 5").replace(
        "baseline:",
        "objective:\n  - {metric: val/accuracy, direction: maximize}\n"
        "  - {metric: data.label_ratio, direction: minimize}\nbaseline:",
    )
    path.write_text(text)
    result = run(load_study(path))
    assert {tuple(record.labels["group"]) for record in result.folder.runs("candidate")} == {(0.05,), (0.1,)}
    for choice in result.choices:
        of_group = [one for one in result.folder.runs("candidate") if one.labels["group"] == list(choice.group)]
        assert {one.params["data.label_ratio"] for one in of_group} == set(choice.group)
        assert sum(one.labels["arm"] == "default" for one in of_group) == 2
    assert len(result.rows) == 4


class PressesCtrlC(NullCallback):
    """Presses Ctrl-C once: as a phase begins, or at an epoch of a run (0 as it begins)."""

    def __init__(self, key: str, epoch: int | None = None) -> None:
        self.key, self.epoch, self.done = key, epoch, False

    def on_phase(self, name: str, total: int, before: Any) -> None:
        self._press(self.epoch is None and name == self.key)

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        epoch = 0 if metrics is None else int(metrics["epoch"])
        self._press(record.key.startswith(self.key) and epoch == self.epoch)

    def _press(self, due: bool) -> None:
        if due and not self.done:
            self.done = True
            raise KeyboardInterrupt


MOMENTS: Mapping[str, tuple[str, int | None]] = {
    "before the candidates": ("candidates", None),
    "in a candidate": ("candidates/default", 2),
    "after the last epoch of a candidate": ("candidates/default-seed2", 3),
    "before the test split is opened": ("finalists", None),
    "as the winner begins": ("finalists/tuned", 0),
    "in the winner": ("finalists/tuned-seed2", 2),
    "after the last epoch of the winner": ("finalists/tuned-seed2", 3),
    "in the baseline": ("finalists/baseline", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_end_at_any_moment_is_made_up_for(
    study: Study, steps: list[Config], moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill, no record is closed."""
    with monkeypatch.context() as killed, pytest.raises(InterruptedStudyError):
        killed.setattr(Recorder, "interrupt", lambda *given, **named: None)
        run(study, callback=PressesCtrlC(*MOMENTS[moment]))
    folder = StudyFolder.existing(tmp_path / "results" / study.name)
    check_sealed(folder)
    assert sum(record.status == "running" for record in folder.runs()) == (MOMENTS[moment][1] is not None)
    result = run(study)
    assert {record.status for record in folder.runs()} == {"complete"}
    assert (len(folder.runs("trial")), len(folder.runs("candidate"))) == (3, 6)
    assert weights(folder, "finalist") == [(0.0, 1), (0.0, 2), (4.0, 1), (4.0, 2)]
    assert [len(view.history) for view in folder.views()] == [3] * 13
    assert len(steps) == STEPS * 11, "checkpoints of each epoch: no step was made twice"
    assert len(result.rows) == 2
    check_sealed(folder)


def test_a_finished_study_is_not_run_again(study: Study, steps: list[Config]) -> None:
    first = run(study)
    done = len(steps)
    again = run(study, callback=PressesCtrlC("candidates"))
    assert len(steps) == done
    assert again.report.text == first.report.text
    assert report(study.name).text == first.report.text


def test_a_failed_seed_is_said_and_its_candidate_comes_after_whole_ones(study: Study) -> None:
    def value(config: Config) -> float:
        is_failing = config.algorithm.clustering_weight == 4.0 and config.seed == 2
        return float("nan") if is_failing else planted(config)

    result = run(study, PlantedExecutor(value))
    (failed,) = result.failed_finalists
    assert failed.startswith("candidates/candidate-seed2")
    assert result.rows[0].overrides[WEIGHT] == 1.0, "of those with both seeds the best is the default"
    assert "1 of the candidates' runs failed." in " ".join(result.report.text.split())
    page = html.unescape(result.report.html.read_text())
    assert "5 of 6 candidates' runs on fresh seeds are complete (1 failed)" in page


def test_no_usable_candidate_is_an_error_with_the_reason(study: Study) -> None:
    executor = PlantedExecutor(lambda config: float("nan") if config.seed else planted(config))
    with pytest.raises(SuperCMError, match=r"no candidate of small came to its end .* the objective is not a number"):
        run(study, executor)


def test_a_group_waits_for_a_candidate_whose_process_failed(study: Study) -> None:
    """The test split stays closed until the choice is made of all."""

    class Breaks(PlantedExecutor):
        broken = True

        def run(self, job: Job, budget: Budget) -> Generator[Message]:
            if self.broken and job.config.seed == 2 and job.config.algorithm.clustering_weight == 4.0:
                raise ValueError("the process broke")
            yield from super().run(job, budget)

    executor = Breaks()
    with pytest.raises(SuperCMError, match="no candidate of small"):
        run(study, executor)
    folder = StudyFolder.existing(Path("results") / study.name)
    assert not folder.runs("finalist")
    executor.broken = False
    result = run(study, executor)
    assert result.rows[0].overrides[WEIGHT] == 4.0
    assert not result.failed_finalists


def test_a_broken_checkpoint_of_a_candidate_is_trained_again(study: Study, steps: list[Config]) -> None:
    with pytest.raises(InterruptedStudyError):
        run(study, callback=PressesCtrlC("finalists"))
    for path in Path("results", study.name).glob("candidates/candidate-seed1-*/checkpoint.pt"):
        path.write_bytes(path.read_bytes()[:1000])
    result = run(study)
    assert len(steps) == STEPS * 12
    assert [row.num_runs for row in result.rows] == [2, 2]


def test_more_seeds_run_the_new_ones_and_choose_again(study: Study) -> None:
    """On the third seed the default is so good that it is chosen."""
    run(study)
    executor = PlantedExecutor(lambda config: 0.99 if planted(config) == 0.703 else planted(config))
    result = run(study.model_copy(update={"num_seeds": 3}), executor)
    assert {job.config.seed for job in executor.jobs if not job.evaluate_test} == {3}
    assert len(result.folder.runs("candidate")) == 9
    assert [(row.overrides[WEIGHT], row.num_runs) for row in result.rows] == [(1.0, 3), (0.0, 3)]


def test_status_and_the_phases_count_candidates(study: Study) -> None:
    class Phases(NullCallback):
        totals: dict[str, int] = {}

        def on_phase(self, name: str, total: int, before: Any) -> None:
            self.totals[name] = total

    folder = run(study, callback=Phases()).folder
    assert Phases.totals == {"search": 3, "candidates": 6, "finalists": 4}
    status = read_status(folder.path)
    assert status.runs == {"candidates": {"complete": 6}, "finalists": {"complete": 4}, "trials": {"complete": 3}}


def test_a_study_without_the_key_is_what_it_was(study: Study, path: Path, tmp_path: Path) -> None:
    """In its identity, its runs and its plan; one with the key is another study."""
    path.write_text(path.read_text().replace("num_candidates: 2\n", ""))
    alone = load_study(path)
    one = load_study(path, ["num_candidates=1"])
    assert alone.identity() == one.identity() != study.identity()
    result = run(alone)
    assert not result.folder.runs("candidate")
    assert weights(result.folder, "finalist") == [(0.0, 1), (0.0, 2), (2.0, 1), (2.0, 2)]
    assert {*json.loads(result.folder.read("finalists.json"))[0]} == {"key", "arm", "group", "overrides"}
    assert result.choices[0].optimism == pytest.approx(0.9 - np.mean([0.552, 0.554]))
    assert "optimism" in result.report.text
    assert "default" not in result.report.text


def test_trackers_get_each_run_once(place: Place, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERCM_TRACKING")
    monkeypatch.chdir(place.path)

    def value(config: Config) -> float:
        """The second seed shows no difference between the winner and the default."""
        is_alike = config.algorithm.clustering_weight == 4.0 and config.seed == 2
        return 0.702 if is_alike else planted(config)

    with pytest.raises(InterruptedStudyError):
        run(study, PlantedExecutor(value), callback=PressesCtrlC("finalists/tuned-seed2", 2))
    assert not [one for one in place.runs() if one.info.status in ("RUNNING", "SCHEDULED")]
    folder = run(study, PlantedExecutor(value)).folder
    check_tracked(folder, place.client(), place.runs())
    tracked = {one.data.tags["supercm.run"]: one for one in place.runs() if "supercm.run" in one.data.tags}
    candidates = [one for key, one in tracked.items() if key.startswith("candidates/")]
    assert len({one.info.run_name for one in candidates}) == len(candidates) == 6
    assert not any(name.startswith("test/") for one in candidates for name in one.data.metrics)
    parent = next(one for one in place.runs() if one.data.tags["supercm.kind"] == "study")
    assert "no better than the default" in parent.data.tags["mlflow.note.content"]
    assert StudyView.read(study, folder).choices
