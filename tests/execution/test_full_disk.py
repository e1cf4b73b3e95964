"""A disk that is full or gone: it stops a study with one line and costs nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

import supercm_ray
from supercm_ray.config import Study, load_study
from supercm_ray.errors import StorageError, StudyError
from supercm_ray.execution.recorder import NullCallback
from supercm_ray.records import RunRecord, StudyFolder, files

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = {
    "base": {
        "data": {"name": "digits", "label_ratio": 0.02},
        "model": {"name": "mlp", "options": {"channels": [4]}},
        "training": {"num_epochs": 2, "steps_per_epoch": 1, "device": "cpu"},
    },
    "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
    "budget": {"num_trials": 3},
    "scheduler": {"name": "none"},
    "num_seeds": 1,
    "tracking": "none",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Study:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return load_study(path)


class Moment(NullCallback):
    """Does something once, at an epoch of a run, or as it begins."""

    def __init__(self, key: str, epoch: int | None, act: Callable[[], None]) -> None:
        self.key, self.epoch, self.act, self.done = key, epoch, act, False

    def on_run(self, record: RunRecord, metrics: dict[str, float] | None) -> None:
        if not self.done and record.key.startswith(self.key) and self.epoch == (metrics and metrics["epoch"]):
            self.done = True
            self.act()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that fails with the first of these codes, if there is one."""
    codes: list[int] = []
    writing = files.writing

    @contextmanager
    def failing(path: Path) -> Iterator[None]:
        with writing(path):
            if codes:
                raise OSError(codes[0], os.strerror(codes[0]))
            yield

    monkeypatch.setattr(files, "writing", failing)
    return codes


def tune(study: Study, results: Path, callback: Moment | None = None) -> supercm_ray.TuneResult:
    return supercm_ray.tune(study, executor="in-process", results=results, callback=callback, plots=False)


MOMENTS = [("trials/0001", None), ("trials/0001", 1), ("trials/0002", 2), ("finalists/tuned", 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("key", "epoch"), MOMENTS)
def test_a_full_disk_costs_nothing(tiny: Study, tmp_path: Path, disk: list[int], key: str, epoch: int | None) -> None:
    with pytest.raises(StorageError, match=r"must be written, got: No space left on device; make room there"):
        tune(tiny, tmp_path, Moment(key, epoch, lambda: disk.append(errno.ENOSPC)))
    with pytest.raises(StudyError, match="No space left on device; make room there"):
        tune(tiny, tmp_path)
    folder = StudyFolder.existing(tmp_path / "tiny")
    before = {record.key: record for record in folder.runs()}
    assert {record.status for record in before.values()} <= {"complete", "running"}
    disk.clear()
    result = tune(tiny, tmp_path)
    assert result.counts == {"complete": 3}
    assert not result.failed_finalists
    after = {record.key: record for record in folder.runs()}
    assert all(after[one].overrides == record.overrides for one, record in before.items())


def test_a_disk_that_goes_away_costs_nothing(tiny: Study, tmp_path: Path) -> None:
    results, gone = tmp_path / "results", tmp_path / "gone"
    with pytest.raises(StorageError, match="see that the folder is there and its disk works"):
        tune(tiny, results, Moment("trials/0001", 1, lambda: results.rename(gone) and None))
    assert not results.exists(), "nothing is written where the disk was"
    gone.rename(results)
    assert tune(tiny, results).counts == {"complete": 3}


def test_a_trained_run_goes_on_after_a_full_disk(tiny: Study, tmp_path: Path, disk: list[int]) -> None:
    callback = Moment("train/tiny", 1, lambda: disk.append(errno.ENOSPC))
    with pytest.raises(StorageError, match="make room there"):
        supercm_ray.train(tiny, results=tmp_path, callback=callback)
    disk.clear()
    supercm_ray.train(tiny, results=tmp_path)
    (path,) = tmp_path.glob("train/*/train/tiny/metrics.jsonl")
    assert len(path.read_text().splitlines()) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(path)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is not permitted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(ballast: Path) -> None:
    """Takes the rest of a disk."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_study_survives_a_real_full_disk(tiny: Study, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(StorageError, match="No space left on device; make room there"):
        tune(tiny, small_disk / "results", Moment("trials/0001", 1, lambda: fill(ballast)))
    ballast.unlink()
    assert tune(tiny, small_disk / "results").counts == {"complete": 3}


@pytest.mark.slow
@pytest.mark.nightly
def test_a_full_disk_under_ray_costs_nothing(tiny: Study, tmp_path: Path, disk: list[int], ray_cluster: None) -> None:
    callback = Moment("trials/0001", 1, lambda: disk.append(errno.ENOSPC))
    with pytest.raises(StorageError, match="make room there"):
        supercm_ray.tune(tiny, executor="ray", results=tmp_path, callback=callback, plots=False)
    disk.clear()
    result = supercm_ray.tune(tiny, executor="ray", results=tmp_path, plots=False)
    assert result.counts == {"complete": 3}
    assert not result.failed_finalists


@pytest.mark.slow
@pytest.mark.nightly
def test_a_real_full_disk_under_ray_costs_nothing(tiny: Study, small_disk: Path, ray_cluster: None) -> None:
    """Workers, records, Optuna and Ray Tune itself write to it."""
    ballast, results = small_disk / "ballast", small_disk / "results"
    with pytest.raises(StorageError, match="No space left on device; make room there"):
        supercm_ray.tune(
            tiny, executor="ray", results=results, plots=False, callback=Moment("trials/0001", 1, lambda: fill(ballast))
        )
    ballast.unlink()
    result = supercm_ray.tune(tiny, executor="ray", results=results, plots=False)
    assert result.counts == {"complete": 3}
