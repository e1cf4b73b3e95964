"""What an undisturbed study leaves behind: records, Optuna's trials, MLflow's runs, and what the command prints."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState
from studies import STUDY, Place

import supercm_ray
from supercm_ray.config import DataConfig, load_study
from supercm_ray.data import DATASETS, UNLABELED, Dataset, load_dataset
from supercm_ray.search import BASELINE, TUNED
from supercm_ray.tuning.own_predictions import write_predictions

Finished = tuple[Place, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Finished:
    """A study that ran undisturbed in this process, and what it printed. Tests only read it."""
    made = Place.make(tmp_path_factory.mktemp("finished"), empty_mlflow)
    return made, made.tune_here()


def test_everything_asked_for_is_there_once(finished: Finished) -> None:
    place, _ = finished
    groups = {record.labels["group"][0] for record in place.folder.runs("finalist")}
    assert groups == {0.02, 0.1}
    place.check_whole(num_trials=10, num_finalists=2 * 2 * 2)


def test_states_mean_what_they_say(finished: Finished) -> None:
    place, _ = finished
    num_epochs = STUDY["base"]["training"]["num_epochs"]
    for trial in place.optuna().trials:
        record = place.folder.run(f"trials/{trial.number:04d}").record()
        history = place.folder.run(f"trials/{trial.number:04d}").history()
        assert record is not None
        if trial.params["training.learning_rate"] == 1e30:
            assert trial.state == TrialState.FAIL
            assert "training loss became" in trial.user_attrs["reason"]
            assert record.status == "failed"
            assert record.reason == trial.user_attrs["reason"]
        elif len(history) < num_epochs:
            assert trial.state == TrialState.PRUNED
            assert record.status == "pruned"
        else:
            assert trial.state == TrialState.COMPLETE
            assert trial.values == [history[-1]["val/accuracy"], trial.params["data.label_ratio"]]
    states = {trial.state for trial in place.optuna().trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_enqueued_trials_come_first(finished: Finished) -> None:
    place, _ = finished
    for trial, params in zip(place.optuna().trials, STUDY["enqueued_trials"], strict=False):
        assert params.items() <= trial.params.items()


def test_early_stopping_compares_within_a_group_only(finished: Finished) -> None:
    """Replays ASHA by hand, group by group, in the order in which the results came in."""
    place, _ = finished
    for group in (0.02, 0.1):
        events = []
        for record in place.folder.runs("trial"):
            if record.overrides["data.label_ratio"] == group and record.status != "failed":
                events += [(m["timestamp_ms"], m["epoch"], record, m) for m in place.folder.run(record.key).history()]
        rungs: dict[int, list[float]] = {1: [], 2: []}
        for _, epoch, record, metrics in sorted(events, key=lambda event: event[:2]):
            if epoch in rungs:
                known = rungs[epoch]
                cutoff = np.percentile(known, 50) if known else -1.0
                stopped = record.status == "pruned" and place.folder.run(record.key).num_epochs() == epoch
                assert stopped == (metrics["val/accuracy"] < cutoff), record.key
                known.append(metrics["val/accuracy"])


def test_finalists_use_fresh_seeds_and_the_best_params(finished: Finished) -> None:
    place, _ = finished
    complete = [t for t in place.optuna().trials if t.state == TrialState.COMPLETE]
    for record in place.folder.runs("finalist"):
        group = record.labels["group"][0]
        best = max((t for t in complete if t.params["data.label_ratio"] == group), key=lambda t: t.values[0])
        expected = {**best.params, **(STUDY["baseline"] if record.labels["arm"] == BASELINE else {})}
        assert {k: v for k, v in record.overrides.items() if k != "seed"} == expected
        assert record.overrides["seed"] in (1, 2)
        assert {"test/accuracy", "test/loss", "test/balanced_accuracy"} <= set(record.summary)
    assert {r.labels["arm"] for r in place.folder.runs("finalist")} == {TUNED, BASELINE}


def test_trials_never_saw_the_test_split(finished: Finished) -> None:
    place, _ = finished
    for record in place.folder.runs("trial"):
        assert not record.summary
        assert not any(name.startswith("test") for m in place.folder.run(record.key).history() for name in m)


def test_label_budget_counts_training_and_validation_labels(finished: Finished) -> None:
    place, _ = finished
    for record in place.folder.runs():
        with np.load(place.folder.run(record.key).splits) as splits:
            assert record.label_budget == len(splits["labeled"]) + len(splits["val"])
            assert not set(splits["test"]) & (set(splits["labeled"]) | set(splits["val"]) | set(splits["unlabeled"]))
            counts = np.bincount(load_dataset(DataConfig(label_ratio=0.1)).labels[splits["val"]]).tolist()
            assert json.loads(place.folder.read("data.json"))["val_class_counts"] == counts


def test_parent_has_the_artifacts_and_provenance(finished: Finished) -> None:
    place, _ = finished
    client = place.client()
    parent = next(run for run in place.runs() if run.data.tags["supercm.kind"] == "study")
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "table.json", "study.yaml", "plots"} <= names
    assert client.list_artifacts(parent.info.run_id, "plots")
    tags = parent.data.tags
    assert tags["supercm.study_hash"] == load_study(place.path / "tiny.yaml").identity()
    assert {"supercm.version.torch", "supercm.version.ray", "supercm.version.optuna", "supercm.version.mlflow"} <= set(
        tags
    )
    for group in ("0.02", "0.1"):
        finalists = [
            r for r in place.folder.runs("finalist") if [group, TUNED] == [str(r.labels["group"][0]), r.labels["arm"]]
        ]
        mean = np.mean([r.summary["test/accuracy"] for r in finalists])
        curve = client.get_metric_history(parent.info.run_id, "tuned/test_accuracy_mean")
        assert {one.step: one.value for one in curve}[finalists[0].num_labeled] == pytest.approx(mean)
    assert "tuned SuperCM" in tags["mlflow.note.content"]
    child = next(run for run in place.runs() if run.data.tags.get("supercm.run") == "trials/0000")
    assert {item.path for item in client.list_artifacts(child.info.run_id)} == {"splits.npz"}
    assert child.data.params["algorithm.temperature"] == "1.0"
    assert child.data.params["label_budget"] == child.data.tags["supercm.label_budget"]


def test_each_finalist_has_its_model_and_mlflow_ranks_them(finished: Finished) -> None:
    place, output = finished
    client, finalists = place.client(), {record.key: record for record in place.folder.runs("finalist")}
    runs = {run.info.run_id: run for run in place.runs()}
    (experiment_id,) = {run.info.experiment_id for run in runs.values()}
    ranked = client.search_logged_models(
        [experiment_id], order_by=[{"field_name": "metrics.test/accuracy", "ascending": False}]
    )
    keys = [runs[model.source_run_id].data.tags["supercm.run"] for model in ranked]
    assert sorted(keys) == sorted(finalists)
    tested = [finalists[key].summary["test/accuracy"] for key in keys]
    assert tested == sorted(tested, reverse=True)
    for model, key in zip(ranked, keys, strict=True):
        weight = finalists[key].params["algorithm.clustering_weight"]
        assert model.params["algorithm.clustering_weight"] == str(weight)
    uri = re.search(r"models:/(\S+)", output)
    assert uri is not None
    assert uri[1] in {model.model_id for model in ranked}


def test_model_loads_without_pickle_and_predicts(finished: Finished) -> None:
    place, output = finished
    uri = re.search(r"models:/\S+", output)
    assert uri
    code = f"""
import mlflow, numpy as np, supercm_ray, torch
from supercm_ray.config import DataConfig
from supercm_ray.data import load_dataset
mlflow.set_tracking_uri("sqlite:///{place.path / "mlflow.db"}")
digits = load_dataset(DataConfig(label_ratio=0.1))
model = supercm_ray.load_model("tiny")
wanted = model.predict(digits.images)
fetched = supercm_ray.load_model("{uri[0]}")
assert np.array_equal(fetched.predict(digits.images).probabilities, wanted.probabilities)
assert np.array_equal(fetched.centroids, model.centroids)
tracked = mlflow.pyfunc.load_model("{uri[0]}")
assert tracked.metadata.metadata["class_names"] == list(model.class_names)
assert tracked.metadata.signature.inputs.inputs[0].type == np.uint8
found = tracked.predict(digits.images)
assert np.allclose(found, wanted.probabilities, atol=1e-6), abs(found - wanted.probabilities).max()
module = mlflow.pytorch.load_model("{uri[0]}")
assert np.array_equal(module(torch.from_numpy(digits.images)).numpy(), found)
print((wanted.indices == digits.labels).mean())
"""
    environment = {**place.environment(), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=place.path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.15  # chance is 0.10, and these networks are tiny


def test_the_studys_model_is_the_best_finalist_by_validation(finished: Finished) -> None:
    place, _ = finished
    model = supercm_ray.load_model(place.folder.path)
    best = place.folder.run(model.card.run.partition("/")[2])
    with np.load(best.splits) as splits, np.load(best.test_predictions) as stored:
        digits = load_dataset(DataConfig(label_ratio=0.1))
        assert np.array_equal(model.predict(digits.images[splits["test"]]).indices, stored["predictions"])
    tuned = [record for record in place.folder.runs("finalist") if record.labels["arm"] == TUNED]
    accuracies = {record.key: place.folder.run(record.key).history()[-1]["val/accuracy"] for record in tuned}
    group = [key for key in accuracies if key.split("-")[0] == best.key.split("-")[0]]
    assert model.card.metrics["val/accuracy"] == max(accuracies[key] for key in group)


def test_output_tells_the_ways_in(finished: Finished) -> None:
    place, output = finished
    assert "mlflow ui --backend-store-uri" in output
    assert "optuna-dashboard" in output
    assert str(Path("results/tiny/report.html")) in output
    assert "search: 10/10 done" in output
    assert "Traceback" not in output
    assert not list((place.path / "home").glob("**/auth_token"))


def test_a_finished_study_is_not_run_again(finished: Finished) -> None:
    place, output = finished
    before = {path: path.stat().st_mtime_ns for path in place.path.glob("results/tiny/*/*/metrics.jsonl")}
    again = place.tune_here()
    assert "search:" not in again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [line for line in again.splitlines() if "%" in line] == [line for line in output.splitlines() if "%" in line]
    place.check_whole(num_trials=10, num_finalists=8)


def test_another_study_of_the_same_name_is_refused(finished: Finished) -> None:
    place, _ = finished
    done = place.here("tune", "tiny.yaml", "algorithm.balance_alpha=1.5")
    assert done.returncode == 2
    assert "give it another `name`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_finalist_is_said_with_its_reason(place: Place) -> None:
    place.write(baseline={"training.learning_rate": 1e30}, budget={"num_trials": 2}, num_seeds=1)
    output = place.tune_here()
    assert "failed   finalists/label_ratio=0.02-baseline-seed1" in output
    assert "the training loss became" in output
    again = place.tune_here()
    assert "finalists:" not in again, "a run that diverged would diverge again"


def test_all_trials_failing_is_said_with_the_reason(place: Place) -> None:
    place.write(
        space={"training.learning_rate": {"type": "categorical", "choices": [1e30]}},
        objective={"metric": "val/accuracy", "direction": "maximize"},
        enqueued_trials=[],
        budget={"num_trials": 2},
    )
    done = place.here("tune", "tiny.yaml", "--executor", "in-process")
    again = place.here("tune", "tiny.yaml", "--executor", "in-process")
    for one in (done, again):
        assert one.returncode == 1, one.stderr
        assert "the training loss became" in one.stderr.splitlines()[-1]
        assert "Traceback" not in one.stderr
    assert {run.info.status for run in place.runs()} == {"FAILED"}


def test_one_objective_without_group_or_baseline(place: Place) -> None:
    place.write(
        space={"algorithm.temperature": {"type": "float", "low": 0.5, "high": 2.0}},
        objective={"metric": "val/loss", "direction": "minimize"},
        enqueued_trials=[],
        baseline={},
        budget={"num_trials": 4, "max_concurrent_trials": 1},
        sampler={"name": "tpe"},
        num_seeds=1,
    )
    place.tune_here()
    place.check_whole(num_trials=4, num_finalists=1)
    for trial in place.optuna().trials:
        history = place.folder.run(f"trials/{trial.number:04d}").history()
        assert trial.intermediate_values == {int(m["epoch"]): m["val/loss"] for m in history}


def test_a_larger_budget_goes_on_where_the_smaller_ended(place: Place) -> None:
    place.tune_here("budget.num_trials=4", "num_seeds=1")
    before = {trial.number: trial.params for trial in place.optuna().trials}
    place.tune_here("budget.num_trials=6", "num_seeds=1")
    after = {trial.number: trial.params for trial in place.optuna().trials}
    assert len(before) == 4
    assert len(after) == 6
    assert before.items() <= after.items()
    sampled = [params["algorithm.clustering_weight"] for params in after.values()]
    assert len(set(sampled)) == len(sampled), "a resumed sampler proposes new params"


def test_mlflow_lies_where_the_command_was_given(finished: Finished) -> None:
    place, _ = finished
    assert (place.path / "mlflow.db").exists()


@pytest.fixture
def unlabeled_target() -> Iterator[Dataset]:
    """A data set of blurred digits that nobody labeled."""
    half = load_dataset(DataConfig(name="digits_odd_blurred"))
    unknown = np.full(len(half.labels), UNLABELED)
    dataset = dataclasses.replace(half, labels=unknown, class_names=(), unlabeled_because="nobody labeled it")
    DATASETS.add("unlabeled_target", lambda place, options: dataset)
    yield dataset
    DATASETS.remove("unlabeled_target")


def test_a_target_without_labels_is_searched_and_reported(place: Place, unlabeled_target: Dataset) -> None:
    data = {"name": "digits_even", "num_val": 60, "target": {"name": "unlabeled_target"}}
    place.write(
        base={**STUDY["base"], "data": data},
        space={"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
        objective={"metric": "target/information_maximisation", "direction": "maximize"},
        budget={"num_trials": 3},
        enqueued_trials=[],
        num_seeds=1,
    )
    output = place.tune_here()
    assert "on the source's validation split, since there is no test split" in output
    assert "accuracies and gains are those on the source's validation samples and say little of the target" in output
    assert "No unlabeled sample of the target has a known label, so there is no oracle." in output
    tuned = json.loads((place.folder.path / "table.json").read_text())["rows"][0]
    assert tuned["test_accuracy"] is None
    assert (tuned["gains_on"], len(tuned["gains"])) == ("validation", 1)
    views = place.folder.views()
    assert len(views) == 5
    assert not any(name.startswith("test/") for view in views for name in view.record.summary)
    assert not any("oracle/accuracy" in metrics for view in views for metrics in view.history)
    page = (place.folder.path / "report.html").read_text()
    assert "There is no test split" in page
    assert "predictions.csv has the best run" in page
    shown = json.loads((place.folder.path / "table.json").read_text())["classes_of_best_run"]
    assert sum(one["num_samples"]["val"] for one in shown) == 60
    assert not any("test" in one["recall"] for one in shown)
    predicted = place.folder.path / "predictions.csv"
    assert re.search(r"^predictions results/tiny/predictions\.csv$", output, flags=re.MULTILINE)
    rows = predicted.read_text().splitlines()
    assert len(rows) == 1 + len(unlabeled_target.labels)
    before, best = predicted.stat(), json.loads(place.folder.read("predictions.json"))["run"]
    dataset = load_dataset(DataConfig.model_validate(data))
    assert write_predictions(place.folder, best, dataset) == predicted
    assert predicted.stat().st_mtime_ns == before.st_mtime_ns  # nothing has changed
    predicted.unlink()
    assert write_predictions(place.folder, best, dataset) == predicted
    assert predicted.read_text().splitlines() == rows


def test_a_study_is_not_continued_on_changed_data(place: Place) -> None:
    place.write(num_seeds=1)
    place.tune_here("budget.num_trials=1")
    digits = load_dataset(DataConfig())
    changed = dataclasses.replace(digits, labels=np.roll(digits.labels, 1))
    known = DATASETS.find("digits").make
    DATASETS.add("digits", lambda place, options: changed)
    try:
        done = place.here("tune", "tiny.yaml", "--executor", "in-process", "budget.num_trials=2")
    finally:
        DATASETS.add("digits", known)
    assert done.returncode == 2
    assert re.search(r"the data must be those that .* was begun with, got others: 1797 samples of 10", done.stderr)
    place.tune_here("budget.num_trials=2")
