"""The command line: each verb calls the function of the same name. It holds no logic of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console

from supercm_ray.errors import StudyError, SuperCMError
from supercm_ray.study import Study
from supercm_ray.study_file import load_study, on_workers

if TYPE_CHECKING:
    from supercm_ray.api import TuneResult

app = typer.Typer(
    help="Tunes SuperCM: how much clustering, which temperature, how few labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True, highlight=False)

File = Annotated[Path, typer.Argument(help="A study file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, e.g. algorithm.temperature=0.5 or budget.num_trials=8."),
]
Results = Annotated[Path, typer.Option(envvar="SUPERCM_RESULTS", help="Where studies are kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and do nothing.")]


@app.command()
def ls(
    folder: Annotated[Path, typer.Argument(help="Where the study files are.")] = Path("search_spaces"),
    results: Results = Path("results"),
) -> None:
    """List study files, and the studies begun."""
    from supercm_ray.listing import list_studies

    for line in list_studies(folder, results):
        console.print(line, markup=False)


@app.command()
def validate(file: File, overrides: Overrides = None) -> None:
    """Check a study file and the names in it, without data and without Ray."""
    from supercm_ray.checks import check_names

    study = load_study(file, overrides or ())
    check_names(study)
    searched = ", ".join(study.space) or "nothing"
    console.print(
        f"{file} is valid: study {study.name}, {study.budget.num_trials} trials over {searched}", markup=False
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    sys.stdout.write(json.dumps(Study.model_json_schema(), indent=2) + "\n")


@app.command()
def train(
    file: File,
    overrides: Overrides = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N or MIN:MAX", help="Workers that share every batch; a range is elastic."),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each worker a GPU.")] = False,
    results: Results = Path("results"),
    test: Annotated[
        bool, typer.Option("--test", help="Read the test split at the end. Leave it while choosing.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Run the base configuration once; the same command resumes an interrupted run."""
    study = on_workers(load_study(file, overrides or ()), _num_workers(workers), gpu)
    if dry_run:
        _print_yaml(study.base.model_dump(mode="json"))
        return
    from supercm_ray.progress import ProgressView

    with ProgressView(study, console) as view:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        result = api.train(study, results=results, open_test=test, listener=view)
    for name, value in result.metrics.items():
        if "/" in name:
            console.print(f"{name:20} {value:.4f}")
    console.print(f"checkpoint           {result.checkpoint}", markup=False)
    console.print(
        f"MLflow run           {result.mlflow_run_id}\n\nOpen it with\n  {_mlflow(result.mlflow_uri)}", markup=False
    )


@app.command()
def tune(file: File, overrides: Overrides = None, results: Results = Path("results"), dry_run: DryRun = False) -> None:
    """Search the space, run the finalists, report; the same command resumes an interrupted study."""
    study = load_study(file, overrides or ())
    if dry_run:
        _print_yaml(study.model_dump(mode="json"))
        return
    from supercm_ray.progress import ProgressView

    with ProgressView(study, console) as view:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        result = api.tune(study, results=results, listener=view)
    console.print(f"\n{result.report.text}\n", markup=False)
    for line in _ways_in(result):
        console.print(line, markup=False)


@app.command()
def report(
    study: Annotated[str, typer.Argument(metavar="FILE-OR-STUDY", help="A study file, or the name of a study begun.")],
    results: Results = Path("results"),
) -> None:
    """Print a study's table and write its page."""
    from supercm_ray import api

    made = api.report(study, results=results)
    console.print(made.text, markup=False)
    console.print(f"\npage     {made.html}\ntable    {made.table_json}", markup=False)


def main() -> None:
    """Entry point: errors of this package become one clear message and an exit code, without a traceback."""
    try:
        app()
    except SuperCMError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _num_workers(text: str | None) -> int | tuple[int, int] | None:
    """What `--workers` says."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise StudyError(f"--workers must be a number or MIN:MAX, got {text!r}")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _print_yaml(tree: dict[str, object]) -> None:
    sys.stdout.write(yaml.safe_dump(tree, sort_keys=False))


def _mlflow(uri: str) -> str:
    from supercm_ray.tracking import without_credentials

    shown = without_credentials(uri)
    return f"open {shown}" if uri.startswith("http") else f"mlflow ui --backend-store-uri '{shown}'"


def _ways_in(result: TuneResult) -> list[str]:
    trials = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    return [
        f"trials   {sum(result.counts.values())}: {trials}",
        *(f"failed   {key}: {reason}" for key, reason in sorted(result.failed_finalists.items())),
        f"report   {result.report.html}",
        f"model    {result.model_uri}",
        f"MLflow   {_mlflow(result.mlflow_uri)}",
        f"Optuna   optuna-dashboard '{result.folder.optuna_url}'",
    ]


if __name__ == "__main__":
    main()
