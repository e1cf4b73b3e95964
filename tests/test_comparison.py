"""Studies of one kind side by side, found by file, folder or name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from supercm_ray.cli.listing import list_studies
from supercm_ray.comparison import compare_studies
from supercm_ray.config import Study, load_study
from supercm_ray.errors import StudyError
from supercm_ray.records import Node, RunRecord, StudyFolder
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


def test_two_tuned_studies(results: Path) -> None:
    text = compare_studies("one", str(results / "two"), results=results)
    shown = [line.split() for line in text.splitlines() if line.strip().startswith("data.label_ratio=")]
    assert [cells[:2] for cells in shown] == [["data.label_ratio=0.05", "tuned"], ["data.label_ratio=0.05", "baseline"]]
    assert "+2.0" in shown[0] and "-4.0" in shown[0]
    assert "+6.0" in shown[1]
    assert "90.0 ± 1.4" in text
    assert "No group and arm" in compare_studies("one", "none", results=results)


def test_validation_and_test_figures_are_not_compared(results: Path) -> None:
    for view in StudyFolder.existing(results / "two").views():
        run = StudyFolder.existing(results / "two").run(view.record.key)
        run.write(dataclasses.replace(view.record, summary={}))
    text = compare_studies("one", "two", results=results)
    assert "B has no test split: its gains are those on the validation split." in text
    (tuned,) = [line.split() for line in text.splitlines() if "data.label_ratio=0.05" in line and " tuned " in line]
    assert tuned[-1] == "–"
    alone = compare_studies("two", "two", results=results)
    assert "A val %" in alone
    assert "A has no test split" in alone


def test_a_scaling_study_is_found_by_name_folder_and_file(results: Path) -> None:
    folder = results / "scale" / "measured"
    texts = {
        compare_studies("measured", str(other), results=results) for other in (folder, folder / "measurements.json")
    }
    assert len(texts) == 1
    assert "digits, strong scaling" in texts.pop()


def test_a_comparison_needs_no_derived_file(results: Path) -> None:
    before = compare_studies("one", "two", results=results)
    (results / "one" / "table.json").write_text("garbled")
    assert compare_studies("one", "two", results=results) == before
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
    with pytest.raises(StudyError, match=r"got a tuned one .* and a scaling one"):
        compare_studies("one", "measured", results=results)
    with pytest.raises(StudyError, match="got 'nothing'"):
        compare_studies("one", "nothing", results=results)
