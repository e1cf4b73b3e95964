"""The image's Dockerfile, as far as it can be read without Docker: versions, user and what is sent to the builder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "kubernetes"
LINES = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text()).splitlines()


def values(word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def test_versions_are_exact_and_by_argument() -> None:
    arguments = dict(one.split("=", 1) for one in values("ARG") if "=" in one)
    assert values("FROM") == ["${BASE}"]
    assert re.fullmatch(r"[a-z]+:\d+\.\d+-[\w-]+", arguments["BASE"])
    assert arguments["ACCELERATOR"] in ("cpu", "cuda")
    assert re.fullmatch(r"[\d.]+", arguments["UV"])
    assert "-c constraints.txt" in next(one for one in values("RUN") if "uv pip install" in one)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(arguments["EXTRAS"].split(",")) <= set(project["optional-dependencies"])


def test_what_runs_is_not_root() -> None:
    assert values("USER") == ["1000:1000"]
    assert "useradd --uid 1000" in " ".join(values("RUN"))
    text = (FOLDER / "rayjob.yaml").read_text()
    assert "runAsUser: 1000" in text


def test_the_builder_gets_what_is_copied() -> None:
    let_in = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {word for one in values("COPY") for word in one.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / one).exists() for one in copied)
