"""The command line. Each command calls the function of the same name in `supercm_ray.api` and prints its result."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console

from supercm_ray.cli.advising import advise
from supercm_ray.cli.cluster import MinNodes, ShipCode, Strict, WaitS, doctor
from supercm_ray.cli.exporting import export
from supercm_ray.cli.options import Results
from supercm_ray.cli.predicting import embed, predict
from supercm_ray.cli.watching import cancel, logs, status
from supercm_ray.config import ClusterOptions, Study, load_for_training, load_study, on_workers
from supercm_ray.credentials import without_credentials
from supercm_ray.errors import StudyError

if TYPE_CHECKING:
    from supercm_ray.api import TuneResult
    from supercm_ray.checks import Command

app = typer.Typer(
    help="Tune SuperCM: find the clustering weight, the temperature, and how few labels a classifier needs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True, highlight=False)

File = Annotated[Path, typer.Argument(help="Path of a study file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Values that override those in the file, such as algorithm.temperature=0.5 or budget.num_trials=8.",
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="ray|in-process", help="What executes runs: Ray, or this process, one run at a time."
    ),
]
Register = Annotated[
    str,
    typer.Option("--register", metavar="NAME", help="Register the best model in MLflow under this name."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and exit.")]


@app.command()
def ls(
    folder: Annotated[Path, typer.Argument(help="Folder with study files.")] = Path("search_spaces"),
    results: Results = Path("results"),
) -> None:
    """List study files, and the studies in the results folder."""
    from supercm_ray.cli.listing import list_studies

    for line in list_studies(folder, results):
        console.print(line, markup=False)


@app.command()
def validate(
    file: File,
    overrides: Overrides = None,
    data: Annotated[
        bool, typer.Option("--data", help="Read the data too: check them, their splits and the network, and count.")
    ] = False,
    results: Results = Path("results"),
) -> None:
    """Check a study file and the names in it, without starting Ray."""
    study = load_study(file, overrides or ())
    _check(study, *_commands_for(study), results=results)
    if data:
        from supercm_ray import api  # seconds of imports, which only data need

        for sentence in api.describe_data(study):
            console.print(sentence, markup=False)
    searched = ", ".join(study.space) or "nothing"
    console.print(
        f"{file} is valid: study {study.name}, {study.budget.num_trials} trials over {searched}", markup=False
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for completion and checks in an editor."""
    sys.stdout.write(json.dumps(Study.model_json_schema(), indent=2) + "\n")


@app.command()
def train(
    file: File,
    overrides: Overrides = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N or MIN:MAX",
            help="Number of workers that share every batch. With a range, as many as the cluster has room for.",
        ),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each worker a GPU.")] = False,
    results: Results = Path("results"),
    test: Annotated[
        bool, typer.Option("--test", help="Evaluate the test split at the end. Omit it while you compare runs.")
    ] = False,
    executor: ExecutorName = None,
    continue_from: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="RUN",
            help="Finished run, by folder or name, from whose last checkpoint a new run goes on; raise "
            "training.num_epochs with it.",
        ),
    ] = None,
    register: Register = "",
    strict: Strict = False,
    ship_code: ShipCode = False,
    min_nodes: MinNodes = 0,
    wait_s: WaitS = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Train the base configuration once; the same command resumes an interrupted run."""
    study = on_workers(load_for_training(file, overrides or ()), _num_workers(workers), gpu)
    if dry_run:
        _check(study, "train", results=results, executor=executor, continue_from=continue_from, register=register)
        _print_yaml(study.base.model_dump(mode="json"))
        return
    from supercm_ray.cli.progress import ProgressView

    with ProgressView(study, console) as view:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        result = api.train(
            study,
            results=results,
            evaluate_test=test,
            executor=executor,
            callback=view,
            continue_from=continue_from,
            cluster=ClusterOptions(strict, ship_code, min_nodes, wait_s),
            register=register,
        )
    if result.model_version:
        console.print(f"registered as version {result.model_version} of {register}", markup=False)
    if result.run_id:
        console.print(f"tracked run {result.run_id}", markup=False)
    if result.how_to_open:
        console.print("\nOpen it with", *result.how_to_open.splitlines(), sep="\n  ", markup=False)


@app.command()
def tune(
    file: File,
    overrides: Overrides = None,
    results: Results = Path("results"),
    executor: ExecutorName = None,
    register: Register = "",
    strict: Strict = False,
    ship_code: ShipCode = False,
    min_nodes: MinNodes = 0,
    wait_s: WaitS = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Search the space, run the finalists and write the report; the same command resumes an interrupted study."""
    study = load_study(file, overrides or ())
    if dry_run:
        _check(study, "tune", results=results, executor=executor, register=register)
        _print_yaml(study.model_dump(mode="json"))
        return
    from supercm_ray.cli.progress import ProgressView

    with ProgressView(study, console) as view:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        cluster = ClusterOptions(strict, ship_code, min_nodes, wait_s)
        result = api.tune(
            study, results=results, executor=executor or "ray", callback=view, cluster=cluster, register=register
        )
    for line in _ways_in(result):
        console.print(line, markup=False)
    if result.model_version:
        console.print(f"registered as version {result.model_version} of {register}", markup=False)


@app.command()
def report(
    study: Annotated[
        str, typer.Argument(metavar="FILE-OR-STUDY", help="Path of a study file, or name of a study in the results.")
    ],
    results: Results = Path("results"),
) -> None:
    """Print a study's table and write its page."""
    from supercm_ray import api

    made = api.report(study, results=results)
    console.print(made.text, markup=False)
    console.print(f"\npage     {made.html}\ntable    {made.table_json}", markup=False)


@app.command()
def sync(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name or folder of a study, or of a run of `supercm-ray train`.")
    ],
    results: Results = Path("results"),
) -> None:
    """Send what the tracker, such as MLflow, lacks of a study; nothing is sent twice."""
    from supercm_ray import api

    for line in api.sync(study, results=results).splitlines():
        console.print(line, markup=False)


@app.command()
def scale(
    file: File,
    overrides: Overrides = None,
    num_workers: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Numbers of workers at which to time a training step.")
    ] = None,
    trials_at_once: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Numbers of concurrent trials with which to search the space.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="strong: all workers share the study's batch. weak: each worker has a batch of that size.",
            metavar="strong|weak",
        ),
    ] = None,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Validation accuracy, from 0 to 1, to which to train whole runs as well.")
    ] = None,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option(help="Price of one GPU for one hour, in any currency; adds the cost to the table."),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each worker a GPU.")] = False,
    results: Results = Path("results"),
    strict: Strict = False,
    ship_code: ShipCode = False,
    min_nodes: MinNodes = 0,
    wait_s: WaitS = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Measure how training scales with workers and tuning with concurrent trials; the same command resumes.

    The `scaling` section of the study file says what to measure; options and overrides change it.
    """
    given = {
        "num_workers": _numbers("--num-workers", num_workers),
        "trials_at_once": _numbers("--trials-at-once", trials_at_once),
        "mode": mode,
        "target_accuracy": target_accuracy,
        "price_per_gpu_hour": price_per_gpu_hour,
    }
    words = [f"scaling.{name}={value}" for name, value in given.items() if value is not None]
    study = on_workers(load_study(file, [*(overrides or ()), *words]), None, gpu)
    if dry_run:
        _check(study, "scale", results=results)
        _print_yaml(study.model_dump(mode="json"))
        return
    from supercm_ray.cli.progress import ProgressView

    with ProgressView(study, console) as view:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        command = without_credentials(shlex.join(["supercm-ray", *sys.argv[1:]]))
        cluster = ClusterOptions(strict, ship_code, min_nodes, wait_s)
        result = api.scale(study, results=results, callback=view, command=command, cluster=cluster)
    for line in [f"report   {result.report.html}", *_tracked(result.how_to_open)]:
        console.print(line, markup=False)
    console.print(f"\n{result.report.measurements}", markup=False)


@app.command()
def compare(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="Studies and trained runs by folder or name, or filters of MLflow's such as "
            "\"params.`algorithm.name` = 'vat'\"; or scaling studies.",
            show_default=False,
        ),
    ],
    results: Results = Path("results"),
    page: Annotated[
        Path | None, typer.Option(help="File of the page; by default one in the folder `comparisons` of the results.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Make the comparison a run of its own in MLflow.")] = False,
) -> None:
    """Compare studies, trained runs and runs found in MLflow, as text and as one page; or scaling studies."""
    from supercm_ray import api

    found = api.compare(*named, results=results, page=page, log=log)
    console.print(found.text, markup=False)
    if found.html:
        console.print(f"\npage     {found.html}", markup=False)
    for line in _tracked(found.how_to_open):
        console.print(line, markup=False)


for _command in (advise, predict, embed, export, status, logs, cancel, doctor):
    app.command()(_command)


def _check(
    study: Study,
    *commands: Command,
    results: Path,
    executor: str | None = None,
    continue_from: str | None = None,
    register: str = "",
) -> None:
    from supercm_ray.checks import check_command  # seconds of imports

    for command in commands:
        check_command(
            study, command, results=results, executor=executor, continue_from=continue_from, register=register
        )


def _commands_for(study: Study) -> tuple[Command, ...]:
    from supercm_ray.checks import commands_for  # seconds of imports

    return commands_for(study)


def _num_workers(text: str | None) -> int | tuple[int, int] | None:
    """Parses the value of `--workers`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise StudyError(f"--workers must be a number or MIN:MAX, got {text!r}")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _numbers(option: str, text: str | None) -> list[int] | None:
    """Parses an option that takes several numbers."""
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError:
        raise StudyError(f"{option} must be numbers with commas between them, such as 1,2,4, got {text!r}") from None


def _print_yaml(tree: dict[str, object]) -> None:
    sys.stdout.write(yaml.safe_dump(tree, sort_keys=False))


def _tracked(how_to_open: str) -> list[str]:
    return [f"tracking {line}" for line in how_to_open.splitlines()]


def _ways_in(result: TuneResult) -> list[str]:
    trials = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    lines = [
        ("trials", f"{sum(result.counts.values())}: {trials}"),
        *(("failed", f"{key}: {reason}") for key, reason in sorted(result.failed_finalists.items())),
        ("report", result.report.html),
        *([("predictions", result.predictions)] if result.predictions else []),
        *([("model", result.model_uri)] if result.model_uri else []),
        *(("tracking", line) for line in result.how_to_open.splitlines()),
        ("Optuna", f"optuna-dashboard {shlex.quote(result.folder.optuna_url)}"),
    ]
    width = max(len(name) for name, _ in lines)
    return [f"{name:{width}} {text}" for name, text in lines]
