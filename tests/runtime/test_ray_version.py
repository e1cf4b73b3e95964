"""Which versions of Ray are taken."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import ray
from studies import Place

from supercm_ray.errors import StudyError
from supercm_ray.runtime import ray_version
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.worker_group import WorkerGroupRun, Workers


@pytest.mark.parametrize("version", ["2.56.0", "2.57.1", "2.60.0", "2.60.0rc1"])
def test_supported_version_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "__version__", version)
    ray_version.check_ray_version()


@pytest.mark.parametrize("version", ["1.13.0", "2.55.1", "2.61.0", "3.0.0.dev0"])
def test_other_version_is_one_clear_line(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "__version__", version)
    monkeypatch.setattr(ray, "init", lambda **given: pytest.fail("Ray was started"))
    line = rf"^the installed Ray must be of version 2\.56 to 2\.60, got {re.escape(version)}; install one of these.*$"
    with pytest.raises(StudyError, match=line) as caught, ray_session():
        pass
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == 2


def test_run_in_a_foreign_session_checks_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray, "__version__", "2.55.1")
    run = WorkerGroupRun(iter, None, Workers(2, wait_for_room=True), name="none")
    with pytest.raises(StudyError, match=r"got 2\.55\.1"):
        next(iter(run))


def test_private_names_are_imported_after_the_check() -> None:
    """An unsupported version may lack them, which would hide the clear line behind an ImportError."""
    code = "import sys, supercm_ray.api, supercm_ray.runtime; print([n for n in sys.modules if 'train_internals' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_command_ends_with_one_line_and_code_2(place: Place, no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "__version__", "2.61.0")
    done = place.here("tune", "tiny.yaml")
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the installed Ray must be of version 2.56 to 2.60, got 2.61.0" in line
    assert "Traceback" not in done.stderr


def test_project_file_names_the_same_range() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (needed,) = [line for line in project["project"]["dependencies"] if line.startswith("ray[")]
    oldest = ".".join(map(str, ray_version.OLDEST))
    beyond = f"{ray_version.NEWEST[0]}.{ray_version.NEWEST[1] + 1}"
    assert needed.partition("]")[2] == f">={oldest},<{beyond}"
    assert ray_version.OLDEST <= tuple(map(int, ray.__version__.split(".")[:2])) <= ray_version.NEWEST
