"""Figures of a scaling study; each function draws one from its analysis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from supercm_ray.report.style import new_axes, outer_legend, styled
from supercm_ray.scaling import PARTS, TRUSTED_FACTOR, Analysis

_MEASURED, _IDEAL, _LAW, _SIMULATED = "#0072b2", "#7a7a7a", "#d55e00", "#009e73"
_PART_COLORS = dict(zip(PARTS, ("#0072b2", "#e69f00", "#cc79a7", "#9a9a9a"), strict=True))
_MARKERS = {"ring": "^", "hierarchical": "v"}


@styled
def throughput(found: Analysis) -> Figure:
    """Rows a second against workers: each repetition, the ideal line, the best law, and what is simulated."""
    figure, axes = new_axes()
    counts = sorted(found.throughputs)
    alone = statistics.median(found.throughputs[counts[0]]) / counts[0]
    reach = np.geomspace(counts[0], TRUSTED_FACTOR * counts[-1], 40)
    handles: list[Any] = [*axes.plot(reach, alone * reach, color=_IDEAL, linestyle=":", label="ideal")]
    if found.fits:
        predictions = [found.fits[0].predict(count) for count in reach]
        measured = reach <= counts[-1]
        law = np.array([one.throughput for one in predictions])
        name = found.fits[0].law
        handles += axes.plot(reach[measured], law[measured], color=_LAW, label=f"law: {name}")
        handles += axes.plot(reach[~measured], law[~measured], color=_LAW, linestyle="--", label="beyond measurements")
        band = ([one.low for one in predictions], [one.high for one in predictions])
        handles.append(axes.fill_between(reach, *band, color=_LAW, alpha=0.16, linewidth=0, label="95 % interval"))
    for count in counts:
        values = found.throughputs[count]
        dots = axes.plot([count] * len(values), values, "o", color=_MEASURED, alpha=0.8, label="measured, a repetition")
    handles += dots
    handles += _simulated(axes, found)
    ticks = {*counts, *(one.count for one in found.simulated), TRUSTED_FACTOR * counts[-1]}
    _count_axis(axes, sorted(ticks))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="workers", ylabel="rows a second, labeled and unlabeled")
    outer_legend(axes, handles)
    return figure


@styled
def efficiency(found: Analysis) -> Figure:
    """Efficiency against workers, measured and by the best law, with the floor of the recommendation."""
    figure, axes = new_axes(5.6, 3.7)
    counts = [row.count for row in found.costs]
    axes.axhline(100, color=_IDEAL, linestyle=":")
    assert found.choice is not None
    axes.axhline(100 * found.choice.floor, color=_IDEAL, linewidth=0.9)
    axes.annotate("floor", (counts[0], 100 * found.choice.floor), xytext=(0, 3), textcoords="offset points", fontsize=9)
    axes.plot(counts, [100 * row.efficiency for row in found.costs], "o-", color=_MEASURED)
    _count_axis(axes, counts)
    axes.set_ylim(0, max(105.0, 105 * max(row.efficiency for row in found.costs)))
    axes.set(xlabel="workers", ylabel="efficiency (%)")
    return figure


@styled
def breakdown(found: Analysis) -> Figure:
    """What the median step is made of, at each count."""
    figure, axes = new_axes(5.6, 3.7)
    names = [str(point.count) for point in found.points]
    bottom = np.zeros(len(names))
    for part in PARTS:
        heights = np.array([1000 * point.step_s[1] * point.shares[part] for point in found.points])
        axes.bar(names, heights, bottom=bottom, color=_PART_COLORS[part], width=0.62, label=part)
        bottom += heights
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="workers", ylabel="median step (ms)")
    outer_legend(axes, axes.get_legend_handles_labels()[0][::-1])
    return figure


@styled
def cost_against_time(found: Analysis) -> Figure:
    """Cost of the whole job against its time, a point for each count."""
    figure, axes = new_axes(5.6, 3.7)
    priced = all(row.money is not None for row in found.costs)
    unit, factor = time_unit([row.hours for row in found.costs])
    times = [row.hours * factor for row in found.costs]
    spent = [row.money if row.money is not None else row.gpu_hours * factor for row in found.costs]
    axes.plot(times, spent, "o-", color=_MEASURED)
    for row, time, money in zip(found.costs, times, spent, strict=True):
        axes.annotate(str(row.count), (time, money), xytext=(6, 5), textcoords="offset points")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.15 * max(spent))
    axes.margins(x=0.1)
    axes.set(xlabel=f"time of the job ({unit})", ylabel="money" if priced else f"workers times {unit}")
    return figure


@styled
def tuning(found: Analysis) -> Figure:
    """The best value of each search against time."""
    figure, axes = new_axes()
    at_once = sorted({run.trials_at_once for run in found.raw.tuning})
    colors = dict(zip(at_once, ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"), strict=False))
    handles = {}
    for run in found.raw.tuning:
        times = [time for time, _ in run.best] + [run.seconds]
        values = [value for _, value in run.best]
        if values:
            color = colors.get(run.trials_at_once, "#444444")
            line = axes.step(times, [*values, values[-1]], where="post", color=color, label=str(run.trials_at_once))
            handles[run.trials_at_once] = line[0]
    axes.set_xlim(left=0)
    axes.set(xlabel="seconds", ylabel="best value so far")
    outer_legend(axes, [handles[count] for count in sorted(handles)], "trials at once")
    return figure


def time_unit(hours: Sequence[float]) -> tuple[str, float]:
    """The unit in which such times read well, and how many of it an hour has."""
    longest = max(hours)
    return ("hours", 1.0) if longest >= 1 else ("minutes", 60.0) if longest >= 1 / 60 else ("seconds", 3600.0)


def _simulated(axes: Axes, found: Analysis) -> list[object]:
    handles: dict[str, object] = {}
    for one in found.simulated:
        label = f"simulated, {one.reduction}"
        rows = found.raw.repetitions[0]
        per_step = rows.rows / rows.workers * one.count if found.raw.mode == "weak" else rows.rows
        handles[label] = axes.plot(
            one.count, per_step / one.step_s, _MARKERS[one.reduction], mfc="none", mec=_SIMULATED, label=label
        )[0]
    return list(handles.values())


def _count_axis(axes: Axes, counts: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    spread = math.sqrt(2) if len(counts) > 1 else 2
    axes.set_xlim(counts[0] / spread, counts[-1] * spread)
