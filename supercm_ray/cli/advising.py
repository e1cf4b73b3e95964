"""The command `advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from supercm_ray.cli.options import Results
from supercm_ray.cli.watching import AsJson, print_json

console = Console(soft_wrap=True, highlight=False)


def advise(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Study that searched the number of labels, or several studies and trained runs, by folder or name.",
            show_default=False,
        ),
    ],
    target: Annotated[
        float | None,
        typer.Option(help="Accuracy that is wanted, such as 0.95; by default some with fewer errors than now."),
    ] = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Say how many labels an accuracy needs, with an interval, from the learning curve of studies."""
    from supercm_ray import api  # seconds of imports

    found = api.advise(*named, target=target, results=results)
    if as_json:
        print_json(found.tree)
    else:
        console.print(found.text, markup=False)
