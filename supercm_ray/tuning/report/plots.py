"""Plots of the search; each function draws one. Accuracies are in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType

from supercm_ray.config import CategoricalDistribution, Leaf, Study
from supercm_ray.records import RunView
from supercm_ray.reporting.style import group_colors, new_axes, outer_legend, plain_log, styled
from supercm_ray.reporting.tables import value_text
from supercm_ray.search import Group
from supercm_ray.tuning.report.view import ReportData

_MARKERS = {"complete": "o", "pruned": "o", "failed": "X"}
_OPEN_MARKER = "D"


@styled
def history(data: ReportData) -> Figure:
    """Draws each trial's last value of the primary metric in order, and the best so far in each group."""
    figure, axes = new_axes()
    metric = data.study.primary.metric
    scale = 100.0 if metric == "val/accuracy" else 1.0
    colors = _colors(data)
    for view in data.trials:
        marker = _marker(view, colors[data.study.group(view.record.overrides)])
        if metric in view.metrics:
            axes.plot(view.number, scale * view.metrics[metric], **marker)
        else:
            axes.plot(view.number, 0.02, **marker, transform=axes.get_xaxis_transform())
    for group, color in colors.items():
        numbers, values = _best_so_far(data, group)
        axes.step(numbers, scale * np.asarray(values), where="post", color=color, linewidth=1.6, alpha=0.8)
    if not any(metric in view.metrics for view in data.trials):
        axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial number", ylabel=f"{metric} (%)" if scale > 1 else metric)
    handles = [*_group_handles(data), *_status_handles(data.trials)]
    if "complete" in data.statuses:
        handles.append(Line2D([], [], color="#444444", linewidth=1.6, label="best complete so far"))
    outer_legend(axes, handles, ",\n".join(data.study.group_paths))
    return figure


@styled
def importances(data: ReportData) -> Figure:
    """Draws the importance of each searched path for the primary objective, by PED-ANOVA over full-budget trials."""
    pairs = sorted(data.importances.items(), key=lambda pair: pair[1])
    figure, axes = new_axes(8.0, 1.2 + 0.42 * len(pairs))
    bars = axes.barh([path for path, _ in pairs], [importance for _, importance in pairs], color="#0072b2", height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=f"importance for {data.study.primary.metric}")
    axes.set_xlim(0, 1.12 * max(1e-9, *(share for _, share in pairs)))
    return figure


@styled
def value(data: ReportData, path: str) -> Figure:
    """Draws accuracy on the validation split against the value of one searched path, over all trials."""
    figure, axes = new_axes(5.6, 3.7)
    views = [view for view in data.trials if view.val_accuracy is not None]
    distribution, colors = data.study.space[path], _colors(data)
    places: dict[Leaf, float] = {}
    if isinstance(distribution, CategoricalDistribution):
        places = {choice: float(i) for i, choice in enumerate(distribution.choices)}
        axes.set_xticks(list(places.values()), [value_text(choice) for choice in places])
    elif distribution.log:
        plain_log(axes)
    for view in views:
        x = view.record.overrides[path]
        marker = _marker(view, colors[data.study.group(view.record.overrides)])
        axes.plot(places[x] if x in places else _number(x), 100 * view.metrics["val/accuracy"], **marker)
    axes.set(xlabel=path, ylabel="val/accuracy (%)")
    outer_legend(axes, [*_group_handles(data), *_status_handles(views)], ",\n".join(data.study.group_paths))
    return figure


def _number(value: Leaf) -> float:
    """Returns the position of a value on a numeric axis."""
    assert isinstance(value, int | float)
    return float(value)


def _best_so_far(data: ReportData, group: Group) -> tuple[list[int], list[float]]:
    study: Study = data.study
    better = max if study.primary.direction == "maximize" else min
    numbers: list[int] = []
    values: list[float] = []
    for view in data.trials:
        if view.record.status == "complete" and study.group(view.record.overrides) == group and view.metrics:
            numbers.append(view.number)
            values.append(better([*values[-1:], view.metrics[study.primary.metric]]))
    if numbers:
        numbers.append(data.trials[-1].number)
        values.append(values[-1])
    return numbers, values


def _colors(data: ReportData) -> dict[Group, ColorType]:
    """Returns the color of each group, the same in every plot of a report."""
    groups = data.groups
    return dict(zip(groups, group_colors(len(groups)), strict=True))


def _marker(view: RunView, color: ColorType) -> dict[str, Any]:
    filled = view.record.status in ("complete", "failed")
    marker = _MARKERS.get(view.record.status, _OPEN_MARKER)
    face = color if filled else "none"
    return {"marker": marker, "markersize": 6.5, "mec": color, "mfc": face, "mew": 1.3 if not filled else 0.6}


def _status_handles(views: Sequence[RunView]) -> list[Line2D]:
    names = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
    shown = {names.get(view.record.status, "not ended"): view for view in views}
    order = [*names.values(), "not ended"]
    return [
        Line2D([], [], linestyle="none", **_marker(shown[name], "#444444"), label=name)
        for name in order
        if name in shown
    ]


def _group_handles(data: ReportData) -> list[Line2D]:
    if not data.study.group_paths:
        return []
    return [
        Line2D([], [], linestyle="none", marker="s", markersize=8, color=color, label=", ".join(map(value_text, group)))
        for group, color in _colors(data).items()
    ]
