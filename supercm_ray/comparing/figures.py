"""The figures of a comparison's page, by plotly, and the trials for those that the page draws itself."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from supercm_ray.comparing.entry import Entry, Line
from supercm_ray.comparing.text import interval_of, params_text
from supercm_ray.config import Leaf
from supercm_ray.records import RunView
from supercm_ray.reporting.tables import mean_std, value_text

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#444444")
"""Colors that are distinguishable with color vision deficiency (Okabe and Ito 2008), and two more."""
_LOG_FROM = 30.0  # ratio of the largest to the smallest value from which an axis is logarithmic
_MARGIN = 1.25  # ratio of the ends of the axis of labels to the first and the last number
_APART = 0.015  # relative distance of neighbouring bars
_LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
    "hoverlabel": {"align": "left"},
}


def accuracy(entries: Sequence[Entry]) -> go.Figure:
    """Draws the mean accuracy of each line against all labels spent, with its interval."""
    figure = go.Figure(layout=_LAYOUT)
    traces: dict[tuple[str, str], list[Line]] = {}
    for line in sorted((line for entry in entries for line in entry.lines), key=lambda one: one.label_budget):
        traces.setdefault((line.name, line.arm), []).append(line)
    colors = _colors(entries)
    for i, ((name, arm), lines) in enumerate(sorted(traces.items())):
        shift = 1 + _APART * (i - (len(traces) - 1) / 2)  # so that bars at the same number do not cover one another
        trace = _accuracy_trace(f"{name} {arm}", lines, colors[lines[0].entry], is_dashed=arm == "baseline")
        figure.add_trace(trace.update(x=[shift * line.label_budget for line in lines]))
    split = "test" if all(line.split == "test" for entry in entries for line in entry.lines) else "test or validation"
    figure.update_xaxes(title="all labels (those for validation included)", type="log", tickmode="array")
    budgets = sorted({line.label_budget for entry in entries for line in entry.lines})
    ends = [math.log10(budgets[0] / _MARGIN), math.log10(budgets[-1] * _MARGIN)]
    figure.update_xaxes(tickvals=budgets, ticktext=[str(budget) for budget in budgets], range=ends)
    figure.update_layout(legend={"orientation": "h", "y": -0.3})
    return figure.update_yaxes(title=f"accuracy on the {split} split, %")


def _accuracy_trace(name: str, lines: Sequence[Line], color: str, *, is_dashed: bool) -> go.Scatter:
    means = [100 * sum(line.accuracies.values()) / len(line.accuracies) for line in lines]
    bounds = [interval_of(line) for line in lines]
    return go.Scatter(
        name=name,
        y=means,
        mode="lines+markers",
        line={"color": color, "dash": "dash" if is_dashed else "solid"},
        marker={"size": 9, "symbol": "square" if is_dashed else "circle"},
        error_y={
            "symmetric": False,
            "array": [100 * one[1] - mean if one else 0 for one, mean in zip(bounds, means, strict=True)],
            "arrayminus": [mean - 100 * one[0] if one else 0 for one, mean in zip(bounds, means, strict=True)],
        },
        text=[_hover(line) for line in lines],
        hovertemplate="%{text}",
    )


def _hover(line: Line) -> str:
    accuracies = list(line.accuracies.values())
    parts = [f"{mean_std(accuracies)} % over {len(accuracies)} seeds", f"{line.num_labeled} labels trained on"]
    return "<br>".join([*parts, *(f"{path} = {value_text(value)}" for path, value in line.params.items())])


def parallel_coordinates(entries: Sequence[Entry]) -> go.Figure | None:
    """Draws the trials of all entries as lines through the parameters that all of them have; None without two trials
    or without such a parameter.
    """
    trials = list(_drawn(entries))
    paths = common_paths(entries)
    if len(trials) < 2 or not paths:
        return None
    values = [100 * trial.metrics["val/accuracy"] for _, trial in trials]
    dimensions = [_dimension("study", [letter for letter, _ in trials])]
    dimensions += [_dimension(path, [trial.record.params[path] for _, trial in trials]) for path in paths]
    line = {"color": values, "colorscale": "Viridis", "showscale": True, "colorbar": {"title": "%"}}
    last = {"label": "val/accuracy %", "values": values}
    figure = go.Figure(go.Parcoords(line=line, dimensions=[*dimensions, last]), layout=_LAYOUT)
    return figure.update_layout(margin={"l": 80, "r": 40, "t": 60, "b": 30})


def common_paths(entries: Sequence[Entry]) -> list[str]:
    """Returns the paths that differ between trials, of those that every trial has."""
    trials = [trial.record.params for _, trial in _drawn(entries)]
    varied = dict.fromkeys(path for entry in entries if entry.trials for path in entry.varied)
    known = [path for path in varied if all(path in params for params in trials)]
    return [path for path in known if len({params[path] for params in trials}) > 1]


def trials_table(entries: Sequence[Entry]) -> dict[str, Any]:
    """Returns the trials as columns, for the figures and the table that the page draws itself."""
    trials, paths = list(_drawn(entries)), common_paths(entries)
    columns = {path: [trial.record.params[path] for _, trial in trials] for path in paths}
    return {
        "paths": paths,
        "log": [path for path in paths if _is_log(columns[path])],
        "columns": {path: [_plain(value) for value in column] for path, column in columns.items()},
        "entry": [letter for letter, _ in trials],
        "accuracy": [100 * trial.metrics["val/accuracy"] for _, trial in trials],
        "colors": _colors(entries),
    }


def trial_cells(entry: Entry, trial: RunView) -> tuple[str, ...]:
    """Returns the cells of a trial: entry, number, status, epochs, accuracy in percent, and parameters."""
    params = {path: trial.record.params[path] for path in entry.varied if path in trial.record.params}
    value = "–" if trial.val_accuracy is None else f"{100 * trial.val_accuracy:.1f}"
    status = str(trial.record.status)
    return entry.letter, str(trial.number), status, str(trial.num_epochs), value, params_text(params)


def as_json(value: object) -> str:
    """Returns a figure, or plain data, as JSON that may stand inside a script element."""
    text = value.to_json() if isinstance(value, go.Figure) else json.dumps(value)
    return str(text).replace("<", "\\u003c")


def _colors(entries: Sequence[Entry]) -> dict[str, str]:
    return {entry.letter: color for entry, color in zip(entries, itertools.cycle(COLORS), strict=False)}


def _drawn(entries: Sequence[Entry]) -> Iterator[tuple[str, RunView]]:
    for entry in entries:
        for trial in entry.trials:
            if trial.val_accuracy is not None:
                yield entry.letter, trial


def _dimension(label: str, values: Sequence[Leaf]) -> dict[str, Any]:
    if not _are_numbers(values):
        names = list(dict.fromkeys(map(value_text, values)))
        places = [names.index(value_text(value)) for value in values]
        return {"label": label, "values": places, "tickvals": list(range(len(names))), "ticktext": names}
    numbers = [float(value) for value in values]  # type: ignore[arg-type]
    if not _is_log(values):
        return {"label": label, "values": numbers}
    exponents = [math.log10(number) for number in numbers]
    ticks = range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1)
    return {
        "label": label,
        "values": exponents,
        "tickvals": list(ticks),
        "ticktext": [f"{10.0**one:g}" for one in ticks],
    }


def _are_numbers(values: Sequence[Leaf]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_log(values: Sequence[Leaf]) -> bool:
    if not _are_numbers(values):
        return False
    numbers = [float(value) for value in values]  # type: ignore[arg-type]
    return min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM


def _plain(value: Leaf) -> float | str:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else value_text(value)
