"""The command advise: what it reads, what it says, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import supercm_ray
from studies import STUDY, Place

from advising.synthetic import NUM_TRAINING, NUM_VAL, error_at, leave_run, write_results
from supercm_ray import advise, load_study
from supercm_ray.config import Study
from supercm_ray.errors import StudyError
from supercm_ray.records import DataSummary, StudyFolder, write_study


@pytest.fixture
def study(small_study: Path) -> Study:
    space = "space.data.label_ratio={type: categorical, choices: [0.01, 0.02, 0.05, 0.1]}"
    return load_study(small_study, [space, "num_seeds=2"])


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> StudyFolder:
    return write_results(tmp_path, study)


def test_finalists_on_the_test_split_are_the_points(folder: StudyFolder, tmp_path: Path) -> None:
    found = advise("small", target=0.95, results=tmp_path)
    assert [point.num_labeled for point in found.points.points] == [10, 20, 50, 100]
    assert [point.label_budget for point in found.points.points] == [70, 80, 110, 160]
    assert found.points.points[0].accuracies == pytest.approx((1 - error_at(10), 1.002 - error_at(10)))
    assert (found.points.split, found.points.origin, found.points.num_samples) == ("test", "finished", 500)
    (answer,) = found.answers
    assert answer.labels.low < 0.9**2 / 0.03**2 < answer.labels.high
    assert answer.all_labels.value == answer.labels.value + NUM_VAL
    assert 0 < (answer.reached_with_known or 0) < answer.reached <= 1
    (with_more,) = advise("small", target=0.97, results=tmp_path).answers
    assert (with_more.reached_with_known or 0) < (answer.reached_with_known or 0)
    assert found.num_known == NUM_TRAINING
    assert found.with_all is not None
    assert found.with_all.low < 1 - error_at(NUM_TRAINING) < found.with_all.high
    assert str(folder.path) not in found.text


def test_text_fits_and_says_what_it_rests_on(folder: StudyFolder, tmp_path: Path) -> None:
    done = supercm_ray(tmp_path, "advise", "small", "--target", "0.9", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "on the test split, of runs on fresh seeds" in " ".join(done.stdout.split())
    assert "You have 1,000 known labels to train on; with all of them" in done.stdout
    assert "90 % interval" in done.stdout.replace("90%", "90 %")
    plain = supercm_ray(tmp_path, "advise", "small", "--results", str(tmp_path)).stdout
    lines = [line.split() for line in plain.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[:1] == ["target"]) + 2
    assert len(lines[start : start + 3]) == 3, "three quarters, half and a quarter of the error"
    assert [float(line[0]) for line in lines[start : start + 3]] == sorted(float(one[0]) for one in lines[start:][:3])


def test_json_holds_the_same(folder: StudyFolder, tmp_path: Path) -> None:
    done = supercm_ray(tmp_path, "advise", "small", "--target", "0.99", "--json", "--results", str(tmp_path))
    tree, found = json.loads(done.stdout), advise("small", target=0.99, results=tmp_path)
    assert tree["split"] == "test"
    assert tree["num_known"] == NUM_TRAINING
    assert tree["accuracy_with_all"]["low"] < tree["accuracy_with_all"]["value"] < tree["highest_accuracy"]["high"]
    assert [point["num_labeled"] for point in tree["points"]] == [10, 20, 50, 100]
    (answer,) = tree["answers"]
    assert answer["verdict"] == found.answers[0].verdict
    assert answer["labels"]["high"] is None, "infinite"
    assert answer["labels"]["low"] == found.answers[0].labels.low
    assert sum(tree["models"].values()) == pytest.approx(1)


def test_what_is_not_to_be_had_is_said_plainly(folder: StudyFolder, tmp_path: Path) -> None:
    folder.write("data.json", DataSummary(counts={"labeled": 20, "unlabeled": 110}).to_json())
    (answer,) = advise("small", target=0.92, results=tmp_path).answers
    assert answer.verdict == "more than you have"
    assert "more than you have" in advise("small", target=0.92, results=tmp_path).text
    (answer,) = advise("small", target=0.9999, results=tmp_path).answers
    assert answer.verdict == "not reached by this curve"
    assert "not reached by this curve" in advise("small", target=0.9999, results=tmp_path).text
    (answer,) = advise("small", target=0.75, results=tmp_path).answers
    assert answer.measured
    assert answer.verdict == "enough"


def test_labels_at_hand_are_counted(folder: StudyFolder, tmp_path: Path) -> None:
    counts = {"labeled": 20, "unlabeled": 980}
    folder.write("data.json", DataSummary(counts=counts, num_unknown=300).to_json())
    assert advise("small", results=tmp_path).num_known == 700
    folder.write("data.json", DataSummary().to_json())
    assert advise("small", results=tmp_path).num_known == NUM_TRAINING, "by the label ratio"


def test_an_unfinished_search_gives_its_best_trials(folder: StudyFolder, study: Study, tmp_path: Path) -> None:
    for view in folder.views():
        if view.record.kind == "finalist":
            folder.run(view.record.key).write(dataclasses.replace(view.record, status="running", summary={}))
    leave_run(folder, study, "trials/0009", 0.1, 0.5, {}, tested=False)
    found = advise("small", results=tmp_path)
    assert (found.points.split, found.points.origin) == ("val", "trials")
    assert found.points.points[-1].accuracies == pytest.approx((1.01 - error_at(100),))
    assert "validation split, of the best trial of each number of labels" in " ".join(found.text.split())


def test_several_studies_are_one_curve(tmp_path: Path, study: Study) -> None:
    for name, ratio in (("one", 0.01), ("two", 0.02), ("three", 0.1)):
        write_results(tmp_path, study.model_copy(update={"name": name}), (ratio,))
    with pytest.raises(StudyError, match=r"3 or more numbers of labels, got 2 \(10, 20\) in one"):
        advise("one", "two", results=tmp_path)
    found = advise("one", "two", "three", "one", results=tmp_path)
    assert [len(point.accuracies) for point in found.points.points] == [2, 2, 2], "none is counted twice"
    assert len(found.titles) == 3


def test_trained_runs_join_the_trials_of_a_search(folder: StudyFolder, study: Study, tmp_path: Path) -> None:
    for view in folder.views():
        if view.record.kind == "finalist":
            folder.run(view.record.key).write(dataclasses.replace(view.record, status="running"))
    for seed in (1, 2):
        trained = StudyFolder.open(tmp_path / "train", f"small-{seed}", "other")
        write_study(trained.path, study)
        leave_run(trained, study, "train/small", 0.2, 0.95, {"seed": seed}, tested=True)
    found = advise("small", "small-1", "small-2", results=tmp_path)
    assert [point.num_labeled for point in found.points.points] == [10, 20, 50, 100, 200]
    assert (found.points.split, found.points.origin) == ("val", "trials")
    with pytest.raises(StudyError, match=r"got 1 \(200\) in small, trained run"):
        advise("small-1", "small-2", results=tmp_path)


def test_trials_of_any_number_of_labels_are_no_points(tmp_path: Path, study: Study) -> None:
    folder = write_results(tmp_path, study, ())
    for i in range(13):
        leave_run(folder, study, f"trials/{i:04}", 0.01 * (i + 1), 0.9, {}, tested=False)
    with pytest.raises(StudyError, match="and those of 13 trials, which are of any number"):
        advise("small", results=tmp_path)


def test_runs_on_other_data_are_no_curve(tmp_path: Path, study: Study) -> None:
    write_results(tmp_path, study)
    other = write_results(tmp_path, study.model_copy(update={"name": "other"}))
    for view in other.views():
        np.savez(other.run(view.record.key).splits, test=np.arange(400), val=np.arange(9))
    with pytest.raises(StudyError, match="must have the same test split, got"):
        advise("small", "other", results=tmp_path)
    for view in other.views():
        params = {**view.record.params, "data.name": "mnist"}
        other.run(view.record.key).write(dataclasses.replace(view.record, params=params))
    with pytest.raises(StudyError, match=r"same data set, got digits of small, study .* and mnist of other"):
        advise("small", "other", results=tmp_path)


def test_too_few_counts_name_the_command_that_gives_more(tmp_path: Path, study: Study) -> None:
    write_results(tmp_path, study, (0.05, 0.1))
    done = supercm_ray(tmp_path, "advise", "small", "--results", str(tmp_path))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "3 or more numbers of labels, got 2 (50, 100)" in done.stderr
    _, command = done.stderr.strip().split("or search them: ")
    words = shlex.split(command)
    assert words[:2] == ["supercm-ray", "tune"]
    searched = load_study(Path(words[2]), words[3:])
    assert searched.group_paths == ("data.label_ratio",)
    assert searched.name == "small_labels"
    assert supercm_ray(tmp_path, *words[1:], "--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["small", "--target", "95"], "a target must be an accuracy between 0 and 1, got 95; did you mean 0.95?"),
        (["small", "--target", "0"], "a target must be an accuracy between 0 and 1, got 0; give a fraction"),
        (["nothing"], "a study to advise on must be a folder, or the name of one in"),
    ],
    ids=["percent", "zero", "unknown"],
)
def test_bad_input_is_one_line(folder: StudyFolder, tmp_path: Path, words: list[str], expected: str) -> None:
    done = supercm_ray(tmp_path, "advise", *words, "--results", str(tmp_path))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert expected in done.stderr


@pytest.mark.parametrize("name", ["study.json", "study.yaml", "data.json", "finalists.json", "run.json", "splits.npz"])
def test_a_damaged_file_is_told_or_not_needed(folder: StudyFolder, tmp_path: Path, name: str) -> None:
    path = next(folder.path.rglob(name))
    path.write_bytes(b"\x00\xff\xfe{" * 99 + b"\n")
    done = supercm_ray(tmp_path, "advise", "small", "--results", str(tmp_path))
    assert "Traceback" not in done.stderr + done.stdout
    if done.returncode:
        assert done.returncode in (1, 2)
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
        assert name in done.stderr
    else:
        assert "target %" in done.stdout


def test_a_study_of_this_process(place: Place) -> None:
    space = {**STUDY["space"], "data.label_ratio": {"type": "categorical", "choices": [0.02, 0.05, 0.1]}}
    trials = [{"training.learning_rate": 1e-2, "data.label_ratio": ratio} for ratio in (0.02, 0.05, 0.1)]
    changes = {"budget": {"num_trials": 3}, "baseline": {}, "scheduler": {"name": "none"}, "tracking": "none"}
    place.write(space=space, enqueued_trials=trials, **changes)
    place.tune_here()
    done = place.here("advise", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert [len(point["accuracies"]) for point in tree["points"]] == [2, 2, 2]
    assert tree["split"] == "test"
    num_training = tree["points"][-1]["num_labeled"] / 0.1
    assert tree["num_known"] == pytest.approx(num_training, rel=0.01)
