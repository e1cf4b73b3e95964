"""Studies of one kind side by side, found by file, folder or name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supercm_ray.cli.listing import list_studies
from supercm_ray.comparison import compare_studies
from supercm_ray.errors import StudyError
from supercm_ray.records import Node
from supercm_ray.scaling import Measurements

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


def row(group: float, arm: str, test: float, gain: float | None) -> dict[str, Any]:
    return {
        "group": {"data.label_ratio": group},
        "arm": arm,
        "test_accuracy": {"mean": test, "std": 0.01},
        "gain": None if gain is None else {"mean": gain, "std": None},
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    tables = {
        "one": [row(0.1, "tuned", 0.9, 0.05), row(0.1, "baseline", 0.85, None), row(0.2, "tuned", 0.95, 0.02)],
        "two": [row(0.1, "tuned", 0.92, 0.01), row(0.1, "baseline", 0.91, None)],
        "none": [],
    }
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        tree = {"study": name, "study_id": name * 2, "rows": rows}
        (tmp_path / name / "table.json").write_text(json.dumps(tree))
    (tmp_path / "scale" / "measured").mkdir(parents=True)
    (tmp_path / "scale" / "measured" / "measurements.json").write_text(MEASURED.model_dump_json())
    return tmp_path


def test_two_tuned_studies(results: Path) -> None:
    text = compare_studies("one", str(results / "two"), results=results)
    shown = [line.split() for line in text.splitlines() if line.strip().startswith("data.label_ratio=")]
    assert [cells[:2] for cells in shown] == [["data.label_ratio=0.1", "tuned"], ["data.label_ratio=0.1", "baseline"]]
    assert "+2.0" in shown[0] and "-4.0" in shown[0]
    assert "+6.0" in shown[1]
    assert "90.0 ± 1.0" in text
    assert "No group and arm" in compare_studies("one", "none", results=results)


def test_a_scaling_study_is_found_by_name_folder_and_file(results: Path) -> None:
    folder = results / "scale" / "measured"
    texts = {
        compare_studies("measured", str(other), results=results) for other in (folder, folder / "measurements.json")
    }
    assert len(texts) == 1
    assert "digits, strong scaling" in texts.pop()


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
