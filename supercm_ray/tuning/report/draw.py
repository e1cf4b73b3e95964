"""The plots of a report, each with a title and a caption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from supercm_ray.reporting.style import save_png, to_svg
from supercm_ray.tuning.report import plots, prediction_plots
from supercm_ray.tuning.report.frontier import frontier
from supercm_ray.tuning.report.groups import group_text
from supercm_ray.tuning.report.view import ReportData


@dataclass(frozen=True)
class Drawn:
    """A plot ready for the page.

    Attributes:
        name: name of its file, without extension.
        title: its heading.
        caption: what it shows and how to read it.
        svg: the drawing.
        is_half: whether two such plots may stand side by side.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: Path
    is_half: bool


def draw_plots(data: ReportData, folder: Path) -> list[Drawn]:
    """Draws the plots that the study has data for, and writes each as a PNG file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, title, caption, plot in (*_of_search(data), *_of_values(data), *_of_predictions(data)):
        png = save_png(plot, folder / f"{name}.png")
        drawn.append(Drawn(name, title, caption, to_svg(plot), png, name.startswith("value-")))
    return drawn


def _of_search(data: ReportData) -> Iterator[tuple[str, str, str, Figure]]:
    group_paths = " and ".join(data.study.group_paths)
    if data.rows or any(view.metrics for view in data.trials):
        title = f"Accuracy against {group_paths}" if group_paths else "Accuracy of both arms"
        split, other = ("test", "another split, and one seed") if data.data.has_test else ("validation", "one seed")
        caption = (
            f"With bars: mean and standard deviation over fresh seeds on the {split} split. Faint dots: each trial's "
            f"last accuracy on the validation split, those stopped early included; that is {other}."
        )
        yield "frontier", title, caption, frontier(data)
    if data.trials:
        caption = (
            f"The last {data.study.primary.metric} of each trial, on the seed of the search. A trial that failed "
            "before its first epoch stands at the bottom edge. The steps follow the best trial on the full budget."
        )
        yield "history", "The search, trial by trial", caption, plots.history(data)
    if data.importances:
        caption = (
            f"How far each searched path tells the trials best in {data.study.primary.metric} from the rest "
            "(PED-ANOVA over those on the full budget); importances add up to 1. They say which parameters to look at "
            "first, not which values to take."
        )
        yield "importances", "What mattered", caption, plots.importances(data)


def _of_values(data: ReportData) -> Iterator[tuple[str, str, str, Figure]]:
    if not any(view.metrics for view in data.trials):
        return
    for path in data.study.space:
        if path not in data.study.group_paths:
            caption = f"Each trial's last accuracy on the validation split against its {path}."
            yield f"value-{path}", path, caption, plots.value(data, path)


def _of_predictions(data: ReportData) -> Iterator[tuple[str, str, str, Figure]]:
    if data.best is None or data.predictions is None:
        return
    group = data.study.group(data.best.record.overrides)
    place = f"seed {data.best.record.params['seed']}" + (f", {group_text(data.study, group)}" if group else "")
    best = f"the best run by validation ({place})"
    split, counts = list(data.predictions.confusions.items())[-1]
    samples = {"val": "Validation", "test": "Test"}[split]
    caption = f"{samples} samples of {best}: counts in the cells, colored by their fraction of the true class."
    yield (
        "confusion",
        "Which classes are mistaken",
        caption,
        prediction_plots.confusion(counts, data.class_names),
    )
    if not data.predictions.has_test:
        return
    caption = (
        f"Features of the test samples of {best} on their first two principal components, with the centroids at the "
        "end of training. A ring marks a sample whose predicted class is wrong."
    )
    yield "embedding", "Features and centroids", caption, prediction_plots.embedding(data.predictions, data.class_names)
