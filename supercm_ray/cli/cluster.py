"""Options of the commands that run on a cluster, and the command `doctor`, which looks at one."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from supercm_ray.cli.options import Results
from supercm_ray.config import ClusterOptions, load_for_training

console = Console(soft_wrap=True, highlight=False)

Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a cluster with a node that is not fit, instead of leaving it out.")
]
ShipCode = Annotated[
    bool,
    typer.Option(
        "--ship-code",
        help="Send this package to the nodes of a cluster. Plug-ins in the working directory are always sent.",
    ),
]
MinNodes = Annotated[
    int, typer.Option(min=0, metavar="N", help="Number of nodes with CPUs that the cluster must have, from 0.")
]
WaitS = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="How long to wait for these nodes, and for room for one run, from 0; an autoscaler is asked for nodes.",
    ),
]


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]", help="Path of a study file (YAML), to look at its needs too.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values that override those in the file.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|auto|local", help="The Ray cluster to look at, instead of RAY_ADDRESS."),
    ] = None,
    results: Results = Path("results"),
    ship_code: ShipCode = False,
    min_nodes: MinNodes = 0,
    wait_s: WaitS = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look at the cluster, its nodes, MLflow and what a study needs there, without running anything.

    The exit status is 0 if nothing is wrong, otherwise 1.
    """
    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    study = load_for_training(file, overrides or ()) if file is not None else None
    from supercm_ray import api  # seconds of imports

    found = api.doctor(study, results=results, cluster=ClusterOptions(False, ship_code, min_nodes, wait_s))
    if as_json:
        sys.stdout.write(json.dumps({"is_right": found.is_right, **asdict(found)}, indent=2) + "\n")
    else:
        width = max(len(check.name) for check in found.checks)
        for check in found.checks:
            console.print(f"{check.state:8} {check.name:{width}} {check.text}", markup=False)
    if not found.is_right:
        raise typer.Exit(1)
