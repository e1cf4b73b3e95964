"""What a run refuses without its data, its dry run and `validate` refuse in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import supercm_ray

SPACE = "space: {algorithm.clustering_weight: {type: float, low: 0.1, high: 10}}\n"
TINY = f"base: {{data: {{label_ratio: 0.05}}, training: {{num_epochs: 2, steps_per_epoch: 5}}}}\n{SPACE}"
NO_GPU = "each worker must be given a GPU"

REFUSED = {
    "nothing to search": ("tune", TINY.replace(SPACE, ""), (), "a study to tune must search something"),
    "all of it fixed": ("tune", TINY, ("algorithm.clustering_weight=1",), "a study to tune must search something"),
    "nothing to scale": ("scale", TINY, (), "the section `scaling` must stand in tiny.yaml"),
    "no space to scale": ("scale", TINY.replace(SPACE, ""), ("--trials-at-once", "1,2"), "a space to search"),
    "uneven batches": ("scale", TINY, ("--num-workers", "3"), "workers must share each batch evenly"),
    "scaling without a GPU": ("scale", TINY, ("--num-workers", "2", "training.device=cuda"), NO_GPU),
    "trials without a GPU": ("tune", TINY, ("training.device=cuda",), NO_GPU),
    "workers without a GPU": ("train", TINY, ("--workers", "2", "training.device=cuda"), NO_GPU),
    "a tracker": ("tune", TINY, ("tracking=mlfow",), "did you mean `mlflow`?"),
    "an executor": ("tune", TINY, ("--executor", "rai"), "`executor` must be a known executor"),
    "workers in one process": ("tune", TINY, ("--executor", "in-process", "budget.num_workers=2"), "has one worker"),
    "a run to continue": ("train", TINY, ("--continue", "none"), "a run or study must be a folder"),
    "another study": ("tune", TINY, ("seed=3",), "the study must be the one that results/tiny was begun with"),
}
WITHOUT_OPTIONS = [name for name, (_, _, words, _) in REFUSED.items() if not any("--" in word for word in words)]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with the records of another study of the name."""
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    return tmp_path


def give(folder: Path, case: str, *more: str, command: str = "") -> str:
    """Gives the command of a case, and what it says."""
    verb, text, words, _ = REFUSED[case]
    if case == "another study":
        (folder / "results" / "tiny" / "study.json").write_text('{"study_id": "a", "identity": "b"}')
    (folder / "tiny.yaml").write_text(text)
    before = sorted(folder.rglob("*"))
    done = supercm_ray(folder, command or verb, "tiny.yaml", *words, *more)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "nothing was begun"
    return done.stderr


@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_refuses_what_the_run_refuses(here: Path, case: str) -> None:
    said = give(here, case, "--dry-run")
    assert REFUSED[case][-1] in said
    assert said == give(here, case)


@pytest.mark.parametrize("case", ["trials without a GPU", "a tracker", "another study"])
def test_validate_refuses_it_too(here: Path, case: str) -> None:
    assert give(here, case, command="validate") == give(here, case)


def test_a_run_in_this_process_needs_a_gpu_that_it_sees(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    REFUSED["no GPU"] = ("train", TINY, ("training.device=cuda",), "")
    assert "a GPU must be visible to this process" in give(here, "no GPU", "--dry-run")
    assert give(here, "no GPU", "--dry-run") == give(here, "no GPU")
    del REFUSED["no GPU"]


@pytest.mark.parametrize("folder", ["a?b", "a%41", 'it\'s "it"'])
def test_a_folder_that_mlflow_misreads_is_refused_at_once(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    (place / "tiny.yaml").write_text(TINY)
    for words in (("validate",), ("tune", "--dry-run"), ("tune",), ("train",)):
        done = supercm_ray(place, words[0], "tiny.yaml", *words[1:])
        assert (done.returncode, done.stdout) == (2, "")
        assert "the working directory must have a path that MLflow can read for its mlflow.db" in done.stderr
    assert supercm_ray(place, "validate", "tiny.yaml", SUPERCM_TRACKING="none").returncode == 0
    assert [path.name for path in place.iterdir()] == ["tiny.yaml"]


def test_what_is_left_out_is_no_error_and_not_in_the_output(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY)
    done = supercm_ray(here, "train", "tiny.yaml", "scheduler.options.grace_period=99", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed: 0")
