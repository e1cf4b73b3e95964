"""The command `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from supercm_ray.cli.options import Results


def export(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name or folder of a study, or of a run of `supercm-ray train`.")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="csv|json|parquet", help="By default that of the file's name, or csv.")
    ] = "",
    output: Annotated[Path | None, typer.Option(help="File for the table; without it, standard output.")] = None,
    epochs: Annotated[bool, typer.Option("--epochs", help="Every epoch is a row, rather than every run.")] = False,
    results: Results = Path("results"),
) -> None:
    """Write a study's runs as a table: status, seed, labels, varied parameters, metrics."""
    from supercm_ray import api

    text = api.export(study, output=output, form=form, epochs=epochs, results=results)
    sys.stdout.write(text if output is None else f"{output}\n")
