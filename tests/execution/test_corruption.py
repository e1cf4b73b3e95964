"""Each file that a study keeps, shortened, emptied, garbled and removed, one by one, met by each command: the command
repairs it, does without it, or says in one line what to do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet
from commands import Done, supercm_ray

from supercm_ray.records import StudyFolder

TINY = {
    "base": {
        "data": {"name": "digits", "label_ratio": 0.02},
        "model": {"name": "mlp", "options": {"channels": [4]}},
        "training": {"num_epochs": 2, "steps_per_epoch": 1, "device": "cpu"},
    },
    "space": {"algorithm.clustering_weight": {"type": "float", "low": 0.1, "high": 10, "log": True}},
    "budget": {"num_trials": 2},
    "scheduler": {"name": "none"},
    "num_seeds": 1,
    "tracking": "none",
}
STUDY, TRAINED = "results/tiny", "results/train/tiny-*"
OF_RUN = ("run.json", "metrics.jsonl", "splits.npz", "model.json")
FILES = (
    *(f"{STUDY}/{name}" for name in ("study.json", "study.yaml", "data.json", "finalists.json", "optuna.db", "lock")),
    *(f"{STUDY}/{name}" for name in ("table.json", "report.html")),
    *(f"{STUDY}/trials/0000/{name}" for name in OF_RUN),
    *(f"{STUDY}/finalists/tuned*/{name}" for name in (*OF_RUN, "checkpoint.pt", "test_predictions.npz")),
)
TRAINED_FILES = (
    *(f"{TRAINED}/{name}" for name in ("study.json", "data.json", "lock")),
    *(f"{TRAINED}/train/tiny/{name}" for name in (*OF_RUN, "checkpoint.pt")),
)
VERBS = {
    "tune": ("tune", "tiny.yaml", "--executor", "in-process"),
    "report": ("report", "tiny"),
    "ls": ("ls", "."),
    "compare": ("compare", "tiny", "other"),
}
TRAINED_VERBS = {
    "train": ("train", "tiny.yaml"),
    "test": ("train", "tiny.yaml", "--test"),
}


def shorten(path: Path) -> None:
    """Leaves half of the file; of lines the first half of them, as a copy that was cut off may."""
    content = path.read_bytes()
    if path.suffix in (".jsonl", ".yaml"):
        lines = content.splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
    else:
        path.write_bytes(content[: len(content) // 2])


def alter(path: Path) -> None:
    """Changes one digit or byte in the middle."""
    content = bytearray(path.read_bytes())
    middle = next((at for at in range(len(content) // 2, len(content)) if chr(content[at]).isdigit()), None)
    if middle is not None:
        content[middle] = ord("1") if content[middle] != ord("1") else ord("2")
    path.write_bytes(bytes(content))


HOW: dict[str, Callable[[Path], object]] = {
    "shortened": shorten,
    "emptied": lambda path: path.write_bytes(b""),
    "garbled": lambda path: path.write_bytes(b"\x00\xff\xfe{" * 99 + b"\n"),
    "altered": alter,
    "removed": Path.unlink,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two finished studies and a trained run."""
    path = tmp_path_factory.mktemp("finished")
    (path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for words in (VERBS["tune"], (*VERBS["tune"], "name=other"), TRAINED_VERBS["train"]):
        done = supercm_ray(path, *words)
        assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take seconds."""
    monkeypatch.setattr("supercm_ray.tuning.report.build.draw_plots", lambda data, folder: [])


def met(finished: Path, tmp_path: Path, pattern: str, how: str, words: tuple[str, ...]) -> tuple[Path, Done]:
    """Returns a copy with a damaged file, and what a command does there."""
    place = tmp_path / "place"
    shutil.copytree(finished, place)
    (path,) = place.glob(pattern)
    HOW[how](path)
    return place, supercm_ray(place, *words)


def check(done: Done, pattern: str) -> None:
    """The command has come to its end, or has said in one line which file is damaged and what to do."""
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode in (0, 1, 2)
    if done.returncode:
        *warnings, said = done.stderr.strip().splitlines()
        assert said.startswith("error: "), done.stderr
        assert Path(pattern).name in said
        assert "; " in said
        assert not [line for line in warnings if line.startswith("error")]


def cases(verbs: dict[str, tuple[str, ...]], files: tuple[str, ...]) -> list[ParameterSet]:
    """All combinations; the first verb meets all kinds of damage in each run of the tests, the others one."""
    first = next(iter(verbs))
    return [
        pytest.param(
            file, how, verb, marks=[] if verb == first or how == "garbled" else [pytest.mark.slow, pytest.mark.nightly]
        )
        for verb in verbs
        for how in HOW
        for file in files
    ]


@pytest.mark.parametrize(("pattern", "how", "verb"), cases(VERBS, FILES))
def test_a_damaged_file_of_a_study_is_repaired_or_told(
    finished: Path, tmp_path: Path, pattern: str, how: str, verb: str
) -> None:
    place, done = met(finished, tmp_path, pattern, how, VERBS[verb])
    check(done, pattern)
    if verb == "ls":
        assert done.returncode == 0
        assert "other" in [line.split()[0] for line in done.stdout.splitlines() if line.endswith("report.html")]
    if verb == "tune" and done.returncode == 0:
        folder = StudyFolder.existing(place / STUDY)
        assert [record.status for record in folder.runs("trial")] == ["complete"] * 2
        assert {record.status for record in folder.runs("finalist")} == {"complete"}


@pytest.mark.parametrize(("pattern", "how", "verb"), cases(TRAINED_VERBS, TRAINED_FILES))
def test_a_damaged_file_of_a_trained_run_is_repaired_or_told(
    finished: Path, tmp_path: Path, pattern: str, how: str, verb: str
) -> None:
    place, done = met(finished, tmp_path, pattern, how, TRAINED_VERBS[verb])
    check(done, pattern)
    if done.returncode == 0:
        assert "val/accuracy" in done.stdout
        (path,) = place.glob(TRAINED)
        assert len(StudyFolder.existing(path).run("train/tiny").history()) == 2
