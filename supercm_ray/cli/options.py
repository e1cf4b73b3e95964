"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[Path, typer.Option(envvar="SUPERCM_RESULTS", help="Folder in which each study has its own.")]
