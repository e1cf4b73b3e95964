"""The commands `status`, `logs` and `cancel`, which see and end studies that others run."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from supercm_ray.cli.options import Results
from supercm_ray.cli.output import nobody_reads
from supercm_ray.records.study_log import shown_time
from supercm_ray.watching import Event, verbs

console = Console(soft_wrap=True, highlight=False)

_STYLES = {"failure": "red", "error": "red", "damaged": "red", "warning": "yellow", "phase": "bold", "command": "bold"}

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name, folder or file of a study that was tuned, trained or measured.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Name, folder or file of a study; all in the results if none is given."),
    ] = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Show how studies stand, from their records: also while they run, on another host, or after a kill."""
    from supercm_ray.cli.status_text import status_block, status_line

    found = verbs.status(study, results=results)
    if as_json:
        print_json(asdict(found[0]) if study is not None else [asdict(one) for one in found])
        return
    if not found:
        console.print(f"no study has been begun in {results}", markup=False)
    for line in map(status_line, found) if study is None else status_block(found[0]):
        console.print(line, markup=False)


def logs(
    study: StudyName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until no process runs the study.")] = False,
    trial: Annotated[
        str | None,
        typer.Option(metavar="N|KEY", help="Show one run alone: the number of a trial, or a key such as train/digits."),
    ] = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Show what happened in a study: commands, phases, runs, epochs, failures and warnings."""
    for event in verbs.logs(study, trial=trial, follow=follow, results=results, is_over=nobody_reads):
        if as_json:
            print_json(asdict(event), indent=None)
        else:
            console.print(_line(event))
        if nobody_reads():
            return


def cancel(
    study: StudyName,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until the study has ended.")
    ] = 60.0,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """End a study that runs, on any host: its runs are closed, and its command goes on with it when given again."""
    ended = verbs.cancel(study, timeout_s=timeout, results=results)
    if as_json:
        print_json(asdict(ended))
        return
    stays = ", ".join(f"{count} {name}" for name, count in ended.runs.items()) or "no run"
    console.print(
        f"{ended.name} has ended: process {ended.pid} on {ended.host}, {ended.reason or ended.end or 'killed'}\n"
        f"stays    {stays}\n"
        f"resume   {ended.resume}",
        markup=False,
    )


def _line(event: Event) -> Text:
    words = [shown_time(event.time_ms), event.key, event.text]
    if event.kind not in ("run", "epoch"):
        words.insert(1, f"{event.kind}:")
    return Text(" ".join(filter(None, words)), style=_STYLES.get(event.kind, ""))


def print_json(tree: object, indent: int | None = 2) -> None:
    """Prints values as JSON."""
    sys.stdout.write(json.dumps(_plain(tree), indent=indent) + "\n")


def _plain(tree: object) -> object:
    """Returns what JSON has a form for: paths are texts, and numbers that are not finite are null."""
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return str(tree) if isinstance(tree, Path) else tree
