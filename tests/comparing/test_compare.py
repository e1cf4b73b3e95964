"""Studies, runs and searches side by side: what is read, what is tested, what is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from supercm_ray.cli.listing import list_studies
from supercm_ray.comparing import Comparison, compare
from supercm_ray.config import Study, load_study
from supercm_ray.errors import StudyError
from supercm_ray.records import DataSummary, Node, RunRecord, StudyFolder
from supercm_ray.scaling import Measurements
from supercm_ray.search import TUNED, plan_finalists, save_plan

MEASURED = Measurements(
    study="digits",
    mode="strong",
    job_samples=1000,
    command="supercm-ray scale",
    commit="",
    versions={},
    nodes=(Node(name="a"),),
    warmup_steps=1,
)


GROUPS = {0.05: {"data.label_ratio": 0.05}, 0.1: {"data.label_ratio": 0.1}}
TESTED = {"one": {0.05: (0.90, 0.85), 0.1: (0.95, 0.93)}, "two": {0.05: (0.92, 0.91)}, "none": {}}
"""Accuracies of the tuned and the baseline arm by study and label ratio."""


def write_study(folder: StudyFolder, study: Study, tested: dict[float, tuple[float, float]]) -> None:
    """Leaves on disk what the finalists of a tuned study leave."""
    folder.write("study.yaml", yaml.safe_dump(study.model_dump(mode="json")))
    finalists = plan_finalists(study, {(ratio,): GROUPS[ratio] for ratio in tested})
    save_plan(folder, finalists)
    for finalist in finalists:
        tuned, baseline = tested[float(finalist.overrides["data.label_ratio"])]
        run, params = folder.run(finalist.key), study.base.replace(finalist.overrides).leaves()
        shift = 0.01 if finalist.overrides["seed"] == study.base.seed + 1 else -0.01
        summary = {"test/accuracy": (tuned if finalist.arm == TUNED else baseline) + shift}
        record = RunRecord(finalist.key, "finalist", finalist.overrides, params, 60, labels=finalist.labels)
        run.write(record.ended("complete", summary=summary))
        run.append({"epoch": 1, "val/accuracy": 0.5, "val/loss": 1.0})


@pytest.fixture
def results(tmp_path: Path, small_study: Path) -> Path:
    study = load_study(small_study, ["num_seeds=2"])
    for name, tested in TESTED.items():
        write_study(StudyFolder.open(tmp_path, name, study.identity()), study, tested)
    (tmp_path / "scale" / "measured").mkdir(parents=True)
    (tmp_path / "scale" / "measured" / "measurements.json").write_text(MEASURED.model_dump_json())
    return tmp_path


def cells(found: Comparison, start: str) -> list[list[str]]:
    """The words of the lines of the text that begin so."""
    return [line.split() for line in found.text.splitlines() if line.strip().startswith(start)]


def test_two_tuned_studies(results: Path) -> None:
    found = compare(["one", str(results / "two")], results=results)
    assert [line[:4] for line in cells(found, "A ")[1:3]] == [["A", "tuned", "0", "60"], ["A", "baseline", "0", "60"]]
    assert "90.0 ± 1.4" in found.text
    assert "data.label_ratio=0.05" in found.text
    assert [line[3:6] for line in cells(found, "B - A ")] == [["tuned", "60", "+2.0"], ["baseline", "60", "+6.0"]]
    assert [pair.difference.num_seeds for pair in found.pairs] == [2, 2], "nothing of the group that B lacks"
    assert found.obstacles == ()


def test_study_without_finalists_says_so(results: Path) -> None:
    found = compare(["one", "none"], results=results)
    assert found.obstacles == (
        "A and B cannot be compared: no run of B has finished whose accuracy could be compared.",
    )
    assert found.pairs == ()


def test_every_two_of_three_are_tested(results: Path) -> None:
    found = compare(["one", "two", "one"], results=results)
    names = [(pair.first.name, pair.second.name) for pair in found.pairs]
    assert names == [("A", "B")] * 2 + [("A", "C")] * 4 + [("B", "C")] * 2
    assert {pair.difference.verdict for pair in found.pairs} == {"not shown"}, "no gain varies by seed"


def test_validation_and_test_figures_are_not_compared(results: Path) -> None:
    for view in StudyFolder.existing(results / "two").views():
        run = StudyFolder.existing(results / "two").run(view.record.key)
        run.write(dataclasses.replace(view.record, summary={}))
    found = compare(["one", "two"], results=results)
    assert found.pairs == ()
    assert "has accuracies of the validation split alone" in found.obstacles[0]
    assert "B: accuracies are of the validation split, which chose the parameters." in found.text
    assert len(compare(["two", "two"], results=results).pairs) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test": np.arange(9)}, "their test splits have other samples"),
        ({"samples_digest": "other"}, "the samples or labels of digits are others"),
        ({"data.name": "mnist"}, "they use other data sets, digits and mnist"),
        ({"label_budget": 80}, "such as 60 labels (0 trained on) and 80 labels (0 trained on)"),
    ],
    ids=["split", "data", "name", "labels"],
)
def test_what_differs_is_told_and_not_tested(results: Path, change: dict[str, Any], reason: str) -> None:
    for name, changed in (("one", {}), ("two", change)):
        folder = StudyFolder.existing(results / name)
        folder.write("data.json", DataSummary(samples_digest=changed.get("samples_digest", "same")).to_json())
        for view in folder.views():
            params = {**view.record.params, "data.name": changed.get("data.name", "digits")}
            budget = changed.get("label_budget", 60)
            folder.run(view.record.key).write(dataclasses.replace(view.record, params=params, label_budget=budget))
            np.savez(folder.run(view.record.key).splits, test=changed.get("test", np.arange(10)))
    found = compare(["one", "two"], results=results)
    assert len(found.obstacles) == 1
    assert reason in found.obstacles[0]
    assert found.pairs == ()
    assert len(compare(["one", "one"], results=results).pairs) == 4


def test_error_of_test_samples_is_counted(results: Path) -> None:
    """Runs of the one have 8 of 10 samples right, and those of the other 9 others."""
    for name, wrong in (("one", [0, 1]), ("two", [2])):
        folder = StudyFolder.existing(results / name)
        for view in folder.views():
            predictions = np.zeros(10, np.int64)
            predictions[wrong] = 1
            np.savez(folder.run(view.record.key).test_predictions, labels=np.zeros(10), predictions=predictions)
    found = compare(["one", "two"], results=results)
    gains = np.array([1, 1, -1] + [0] * 7)
    low, high = found.pairs[0].difference.interval or (0.0, 0.0)
    assert found.pairs[0].with_samples
    assert high - low == pytest.approx(2 * stats.sem(gains) * stats.t.ppf(0.975, 9))
    assert "whose predictions are not here" not in found.text


def test_page_has_everything_in_one_file(results: Path) -> None:
    found = compare(["one", "two"], results=results)
    assert found.html is not None
    assert found.html.parent == results / "comparisons"
    page = found.html.read_text(encoding="utf-8")
    assert "90.0 ± 1.4" in page
    assert 'id="pairs"' in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    other = compare(["one", "two"], results=results, page=results / "deep" / "own.html")
    assert other.html == results / "deep" / "own.html"
    assert other.html.is_file()


def test_a_scaling_study_is_found_by_name_folder_and_file(results: Path) -> None:
    folder = results / "scale" / "measured"
    others = (folder, folder / "measurements.json")
    texts = {compare(["measured", str(other)], results=results).text for other in others}
    assert len(texts) == 1
    assert "digits, strong scaling" in texts.pop()


def test_a_comparison_needs_no_derived_file(results: Path) -> None:
    before = compare(["one", "two"], results=results).text
    (results / "one" / "table.json").write_text("garbled")
    assert compare(["one", "two"], results=results).text == before
    assert not (results / "one" / "optuna.db").exists()


def test_scaling_studies_are_listed(results: Path) -> None:
    (results / "scale" / "measured" / "scaling.html").touch()
    (results / "scale" / "broken").mkdir()
    (results / "scale" / "broken" / "measurements.json").write_text("[")
    lines = list_studies(results / "no-files", results)
    shown = lines[lines.index(f"scaling studies begun in {results}/scale/") + 1 :]
    assert shown[0].split()[:3] == ["broken", "not", "valid:"]
    assert shown[1].split() == ["measured", "nothing", "measured", "yet,", "scaling.html"]


def test_what_cannot_be_compared_is_refused(results: Path) -> None:
    with pytest.raises(StudyError, match=r"got .*measurements.json and 'one'"):
        compare(["one", "measured"], results=results)
    with pytest.raises(StudyError, match="got none for 'nothing'"):
        compare(["one", "nothing"], results=results)
    with pytest.raises(StudyError, match="2 to 26 things can be compared, got 1"):
        compare(["one"], results=results)
    with pytest.raises(StudyError, match="is text alone, got --log"):
        compare(["measured", "measured"], results=results, log=True)


def test_three_scaling_studies_are_compared_with_first(results: Path) -> None:
    text = compare(["measured"] * 3, results=results).text
    assert text.count("A  digits, strong scaling") == 2
