"""Commands of the package, given in this process as `supercm-ray` gives them."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from supercm_ray.cli import main

OURS = ("MLFLOW_", "RAY_", "SUPERCM_RESULTS")
KEPT = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")  # of the Ray that this process may be connected to


@dataclass(frozen=True)
class Done:
    """What a command printed, and the exit code it ended with."""

    returncode: int
    stdout: str
    stderr: str


def supercm_ray(folder: Path, *words: str, **variables: str) -> Done:
    """Gives a command in a folder, with no variables of this package's but these. What it sets is set back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS) or name in KEPT}
    stdout, stderr, num_threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as monkeypatch, patch.dict(os.environ, {**kept, **variables}, clear=True):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["supercm-ray", *words])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with redirect_stdout(stdout), redirect_stderr(stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, which a command does not turn into errors
            code = _exit_code()
    torch.set_num_threads(num_threads)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, on_ctrl_c)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def _exit_code() -> int:
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0
