"""benchmarks/fire.py: commands that are disturbed at random moments lose nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def drill(out: Path, *words: str) -> dict[str, object]:
    command = [sys.executable, ROOT / "benchmarks" / "fire.py", "--out", out, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert json.loads(done.stdout.splitlines()[-1]).items() <= result.items()
    assert {"command", "commit", "hardware", "versions", "seeds"} <= result.keys()
    assert not result["broken"], done.stdout
    return result


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_some_disturbed_commands_lose_nothing(tmp_path: Path) -> None:
    result = drill(tmp_path / "fire.json", "--rounds", "4", "--commands", "tune,report")
    assert result["ok"] == result["rounds"] == 4


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_sixty_disturbed_commands_lose_nothing(tmp_path: Path) -> None:
    result = drill(tmp_path / "fire.json", "--rounds", "60", "--seed", "1")
    assert result["ok"] == result["rounds"] == 60
