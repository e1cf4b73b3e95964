"""What the README shows is what works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import supercm_ray
from PIL import Image

from supercm_ray.config import load_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("supercm-ray")]


WITHOUT = {
    "report": "a study must have been begun in results/digits",
    "compare": "a study to compare must be a folder, or the name of one in results",
    "predict": "a run or study must be a folder, or the name of one in results",
    "sync": "a study",
    "export": "a study to export must be a folder, or the name of one in results",
    "logs": "a study to look at must be a folder, or the name of one in results",
    "cancel": "a study to cancel must be a folder, or the name of one in results",
    "embed": "got 'photos', which does not exist",
}
"""Commands that end here for want of a study or a file, and what they say."""


def make_photos(folder: Path) -> None:
    """Writes the study file of the first screen and the folders that it names, of tiny images."""
    (folder / "photos.yaml").write_text(blocks("yaml")[0])
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    for i, image in enumerate(pixels):
        part = "unlabeled" if i < 10 else f"{'labeled' if i < 50 else 'test'}/{('cat', 'dog')[i % 2]}"
        (folder / "photos" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "photos" / part / f"{i}.png")


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_command_is_understood(words: list[str], tmp_path: Path) -> None:
    """What trains as a dry run, what needs a study or weights without them; the others as they stand."""
    extra = ["--dry-run"] if words[1] in ("train", "tune", "scale") else []
    (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")
    if "photos.yaml" in words:
        make_photos(tmp_path)
    done = supercm_ray(tmp_path, *words[1:], *extra)
    if words[1] in WITHOUT or words[1:] == ["status", "digits"]:
        assert done.returncode == 2
        assert WITHOUT.get(words[1], "a study") in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_verbs_are_all_shown() -> None:
    assert {words[1] for words in commands()} == {
        "ls",
        "validate",
        "train",
        "tune",
        "scale",
        "compare",
        "report",
        "predict",
        "embed",
        "export",
        "sync",
        "status",
        "logs",
        "cancel",
        "schema",
    }


def test_own_data_take_few_lines_on_the_first_screen() -> None:
    assert len(blocks("yaml")[0].splitlines()) <= 12
    assert README.index("## Your own data") < README.index("## What you can rely on")


def test_the_plug_in_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "clustering_loss" in block]
    code = example + "\nassert all(p.grad is not None for p in backbone.parameters())"
    blocked = "import sys; sys.modules.update(dict.fromkeys(('ray', 'mlflow', 'optuna', 'pydantic')))\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_study_file_example_is_valid(tmp_path: Path) -> None:
    _, example = blocks("yaml")
    (tmp_path / "example.yaml").write_text(example)
    assert load_study(tmp_path / "example.yaml").group_paths == ("data.label_ratio",)
    assert set(yaml.safe_load(example)) >= {"base", "space", "objective", "budget", "baseline"}


def test_the_make_targets_of_the_first_screen_exist() -> None:
    first = blocks("sh")[0]
    targets = re.findall(r"make (\S+)", first)
    assert targets == ["demo", "test"]
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!https)([^)]+)\)", README) + re.findall(r"`((?:search_spaces|docs)/[^` ]+)`", README)
    assert links
    assert all((ROOT / link).exists() for link in links), links


def test_nothing_names_a_package_index_or_what_users_do_not_have() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = [
        name for name in listed if name.endswith((".md", ".txt", ".toml", ".yaml", ".py", ".sh", "Makefile", "run"))
    ]
    assert names
    for name in names:
        text = (ROOT / name).read_text()
        assert not re.search("py" + "pi\\.org|--index" + "-url|extra" + "-index", text), name
        if name != ".ci/run":
            assert ("/" + "shared/") not in text, name
    assert os.access(ROOT / "launch" / "local.sh", os.X_OK)
