"""The commands `predict` and `embed`, which use models without training them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from supercm_ray.cli.options import Results

if TYPE_CHECKING:
    from supercm_ray.api import Embedded, Predictions

console = Console(soft_wrap=True, highlight=False)

_ROWS = 10

BatchSize = Annotated[
    int, typer.Option(min=1, help="Number of samples that pass through the network at a time, from 1.")
]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="Device to compute on; auto is a GPU if one is visible.")
]


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|RUN|MODEL",
            help="Name or folder of a tuned study (its best finalist by validation) or of a trained run; folder of an "
            "exported model; or its address in MLflow, models:/... or runs:/...",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files and folders, read as the data set of the training.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="csv or parquet file for the predictions, a row for each sample."),
    ] = None,
    embed: Annotated[Path | None, typer.Option(help="npz or parquet file for the features.")] = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    results: Results = Path("results"),
) -> None:
    """Predict the classes of new samples with a trained model; existing output files are replaced."""
    with _progress("predicting") as progress:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        result = api.predict(
            model,
            inputs,
            output=output,
            embed=embed,
            batch_size=batch_size,
            device=device,
            results=results,
            progress=progress,
        )
    if output is None:
        console.print(_table(result.first))
    for name, count in result.counts.items():
        console.print(f"{name:20} {count}", markup=False)
    for what, path in (("predictions", output), ("features", embed)):
        if path is not None:
            console.print(f"{what:20} {path}", markup=False)


def embed(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Study file, whose data section is read; folder of images; or file of arrays.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Backbone: torchvision's name, timm/NAME where timm is installed, or a registered one.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="npz file for the features, which `data.name: arrays` takes.")
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|default|none",
            help="Local file with the weights; default for published ones, which needs a network; none for random "
            "ones. Without this option: default.",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side in pixels that images are scaled to, from 1; by default the study file's, or that of published "
            "weights.",
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Module that registers the backbone; may be repeated.")
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
) -> None:
    """Compute features of a data set once with a frozen backbone, for studies on vectors; the same command resumes."""
    with _progress("embedding") as progress:
        from supercm_ray import api  # seconds of imports, with something to see meanwhile

        made = api.embed(
            source,
            model=model,
            output=output,
            weights=weights,
            image_size=image_size,
            plugins=plugin or (),
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    for one in made:
        for line in _described(one):
            console.print(line, markup=False)


def _described(made: Embedded) -> list[str]:
    splits = [f"its own splits      {made.splits}"] if made.splits is not None else []
    return [f"features             {made.path}: {made.num_samples} samples of {made.num_features} features", *splits]


def _table(predictions: Predictions) -> Table:
    """Shows the first predictions; of many classes the most probable alone."""
    table = Table("sample", "predicted", "probability", "distance")
    for i in range(min(_ROWS, len(predictions))):
        table.add_row(
            predictions.names[i],
            predictions.predicted[i],
            f"{predictions.probabilities[i].max():.3f}",
            f"{predictions.distance[i]:.3f}",
        )
    return table


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar with the time left on a terminal, and yields the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
