"""Which trackers a study has: by its file, by the environment, and by plug-ins."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import supercm_ray
from supercm_ray.config import Study, load_study
from supercm_ray.errors import StudyError, TrackingError
from supercm_ray.records import StudyFolder
from supercm_ray.tracking import make_tracker, tracker_names
from supercm_ray.tracking.composite import CompositeTracker
from supercm_ray.tracking.null import NullTracker

ROOT = Path(supercm_ray.__file__).parent
BASE = """\
base:
  data: {name: digits, label_ratio: 0.1}
  model: {name: mlp, options: {channels: [4]}}
  training: {num_epochs: 1, steps_per_epoch: 2, device: cpu}
"""


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERCM_TRACKING", raising=False)


def study_of(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "named.yaml"
    path.write_text(BASE + text, encoding="utf-8")
    return load_study(path)


@pytest.mark.parametrize(
    ("text", "variable", "expected"),
    [
        ("", "", ("mlflow",)),
        ("tracking: none", "", ("none",)),
        ("tracking: [mlflow, tensorboard, mlflow]", "", ("mlflow", "tensorboard")),
        ("tracking: []", "", ("none",)),
        ("tracking: none", "tensorboard, mlflow", ("tensorboard", "mlflow")),
        ("", "none", ("none",)),
    ],
)
def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, variable: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SUPERCM_TRACKING", variable)
    assert tracker_names(study_of(tmp_path, text)) == expected


def test_the_tracker_is_no_part_of_a_studys_identity(tmp_path: Path) -> None:
    assert study_of(tmp_path, "tracking: none").identity() == study_of(tmp_path, "").identity()


def test_it_can_be_overridden_on_the_command_line(tmp_path: Path) -> None:
    study_of(tmp_path, "")
    for override, expected in (("tracking=none", ("none",)), ("tracking=[mlflow, none]", ("mlflow", "none"))):
        assert load_study(tmp_path / "named.yaml", [override]).tracking == expected


def test_an_unknown_name_is_one_clear_error_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"`tracking` must .* in named.yaml, got 'mlfow'; did you mean `mlflow`\?"):
        supercm_ray.train(study_of(tmp_path, "tracking: mlfow"))
    monkeypatch.setenv("SUPERCM_TRACKING", "tensorbord")
    with pytest.raises(StudyError, match=r"`SUPERCM_TRACKING` must .*'tensorbord'; did you mean `tensorboard`\?"):
        supercm_ray.train(study_of(tmp_path, ""))
    assert {path.name for path in tmp_path.iterdir()} == {"named.yaml"}


def test_validate_knows_the_names(tmp_path: Path) -> None:
    study_of(tmp_path, "tracking: mlfow")
    command = [sys.executable, "-W", "ignore", "-m", "supercm_ray.cli", "validate", "named.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "did you mean `mlflow`?" in done.stderr) == (2, True), done.stderr


PLUGIN = """
from supercm_ray.tracking import TRACKERS
from supercm_ray.tracking.null import NullTracker

@TRACKERS.register("of_a_plugin")
class Mine(NullTracker):
    uri = "mine"
    def __init__(self, study, folder):
        self.study = study
"""


def test_a_plug_ins_tracker_works_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tracker_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    study = study_of(tmp_path, "  plugins: [tracker_plugin]\ntracking: [of_a_plugin, none]\n")
    tracker = make_tracker(study, StudyFolder.open(tmp_path, "named", study.identity()))
    assert isinstance(tracker, CompositeTracker)
    assert tracker.uri == "mine"


def test_none_keeps_nothing(study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERCM_TRACKING", "none")
    assert isinstance(make_tracker(study, folder), NullTracker)


def test_tensorboard_that_is_not_installed_is_one_clear_error(
    study: Study, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "supercm_ray.tracking.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setenv("SUPERCM_TRACKING", "tensorboard")
    with pytest.raises(TrackingError) as caught:
        make_tracker(study, folder)
    assert "pip install 'supercm-ray[tensorboard]'" in str(caught.value)
    assert "\n" not in str(caught.value)


UNTRACKED = """
import sys
import supercm_ray
result = supercm_ray.train(supercm_ray.load_study("named.yaml"))
assert result.metrics["val/accuracy"] > 0
assert (result.tracking_uri, result.run_id, result.model_uri, result.how_to_open) == ("", "", "", "")
print(sorted({name.partition(".")[0] for name in sys.modules} & {"mlflow", "sqlalchemy", "tensorboard"}))
"""


def test_without_tracking_neither_mlflow_is_imported_nor_its_database_made(tmp_path: Path) -> None:
    study_of(tmp_path, "tracking: none")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNTRACKED], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mlflow" not in done.stdout.splitlines()[-1], done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"named.yaml", "results"}


def test_only_the_folder_of_mlflow_imports_it() -> None:
    for path in ROOT.rglob("*.py"):
        inside = path.is_relative_to(ROOT / "tracking" / "mlflow")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert inside or not [name for name in names if name.partition(".")[0] == "mlflow"], path
