"""What the house's style asks of every file and no linter counts."""

from __future__ import annotations

import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "supercm_ray"
FILES = sorted(ROOT.rglob("*.py"))
MOST_ANY_PER_1000_LINES = 6.0
MOST_LINES = 400


def count_any(path: Path) -> int:
    """How often a file says `Any` beside importing it."""
    with path.open(encoding="utf-8") as file:
        tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME]
    imports = {token.start[0] for token in tokens if token.string in ("import",)}
    return sum(token.string == "Any" and token.start[0] not in imports for token in tokens)


def test_types_are_seldom_any() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    found = {str(path.relative_to(ROOT)): count_any(path) for path in FILES}
    rate = 1000 * sum(found.values()) / lines
    worst = sorted(found.items(), key=lambda pair: -pair[1])[:8]
    assert rate < MOST_ANY_PER_1000_LINES, f"{rate:.1f} per 1000 lines, most of them in {worst}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_count_sees_any(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("from typing import Any\n\nx: Any = 1\n\n\ndef f(y: dict[str, Any]) -> Any: ...\n")
    assert count_any(tmp_path / "one.py") == 3
