"""The pages on clusters name what is there, and mark each command that needs a cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "clusters" / f"{name}.md" for name in ("kubernetes", "ray-up", "mlflow-server")]
ON_A_CLUSTER = (
    "kubectl ",
    "docker ",
    "ray up",
    "ray down",
    "ray dashboard",
    "ray job",
    "RAY_UP",
    "launch/kubernetes/study.sh",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_file_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/.])(?:launch|tests|search_spaces|docs)/[\w/.-]+\w", page.read_text()))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_need_a_cluster_are_marked(page: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    commands = [line for block in blocks for line in re.sub(r" \\\n", " ", block).splitlines()]
    assert commands
    for command in commands:
        assert ("# cluster" in command) == command.startswith(ON_A_CLUSTER), command
