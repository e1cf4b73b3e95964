"""Figures of a scaling study; each function draws one from its analysis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from supercm_ray.report.style import group_colors, new_axes, outer_legend, styled
from supercm_ray.scaling import PARTS, TRUSTED_FACTOR, Analysis, Fit, LawName

_MEASURED, _IDEAL, _SIMULATED = "#0072b2", "#7a7a7a", "#009e73"
_LAW_COLORS: dict[LawName, str] = {"amdahl": "#cc79a7", "gustafson": "#e69f00", "universal": "#d55e00"}
_LINES = ("-", "--", ":", "-.")
_PART_COLORS = dict(zip(PARTS, ("#0072b2", "#e69f00", "#cc79a7", "#9a9a9a"), strict=True))
_MARKERS = {"ring": "^", "hierarchical": "v"}


@styled
def throughput(found: Analysis) -> Figure:
    """Rows a second against workers: each repetition, the ideal line, the leading laws, and what is simulated."""
    figure, axes = new_axes()
    counts = sorted(found.throughputs)
    alone = statistics.median(found.throughputs[counts[0]]) / counts[0]
    reach = np.geomspace(counts[0], TRUSTED_FACTOR * counts[-1], 40)
    handles: list[Any] = [*axes.plot(reach, alone * reach, color=_IDEAL, linestyle=":", label="ideal")]
    for fit in found.leading:
        handles += _law(axes, fit, reach)
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
    """Efficiency against workers, each repetition and by the best law, with the floor of the recommendation."""
    figure, axes = new_axes(5.6, 3.7)
    counts = [row.count for row in found.costs]
    alone = found.costs[0].throughput / found.costs[0].speedup
    highest = 0.0
    for count in counts:
        shares = [100 * value / alone / count for value in found.throughputs[count]]
        highest = max(highest, *shares)
        axes.plot([count] * len(shares), shares, "o", color=_MEASURED, alpha=0.6)
    if found.fits:
        best, reach = found.fits[0], np.geomspace(counts[0], counts[-1], 40)
        law = [100 * best.throughput(count) / alone / count for count in reach]
        line = axes.plot(reach, law, color=_LAW_COLORS[best.law], label=f"law: {best.law}")
        axes.legend(handles=line, loc="lower left")
    axes.axhline(100, color=_IDEAL, linestyle=":")
    assert found.choice is not None
    axes.axhline(100 * found.choice.floor, color=_IDEAL, linewidth=0.9)
    axes.annotate("floor", (counts[0], 100 * found.choice.floor), xytext=(0, 3), textcoords="offset points", fontsize=9)
    axes.plot(counts, [100 * row.efficiency for row in found.costs], "-", color=_MEASURED)
    _count_axis(axes, counts)
    axes.set_ylim(0, 1.05 * max(100.0, highest))
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
    """The best value of each search against time: colours tell numbers of trials at once, lines shares of a GPU."""
    figure, axes = new_axes()
    at_once, shares = (
        sorted({getattr(run, name) for run in found.raw.tuning}) for name in ("trials_at_once", "gpus_per_trial")
    )
    colors = dict(zip(at_once, group_colors(len(at_once)), strict=True))
    lines = {share: _LINES[i % len(_LINES)] for i, share in enumerate(shares)}
    handles: dict[tuple[int, float], Any] = {}
    for run in found.raw.tuning:
        times = [time for time, _ in run.best] + [run.seconds]
        values = [value for _, value in run.best]
        if values:
            label = (
                f"{run.trials_at_once}, {run.gpus_per_trial:g} GPU each" if shares != [0] else f"{run.trials_at_once}"
            )
            look = {"color": colors[run.trials_at_once], "linestyle": lines[run.gpus_per_trial]}
            line = axes.step(times, [*values, values[-1]], where="post", label=label, **look)
            handles[run.trials_at_once, run.gpus_per_trial] = line[0]
    axes.set_xlim(left=0)
    metric = found.raw.objective.metric if found.raw.objective else "value"
    axes.set(xlabel="seconds", ylabel=f"best {metric} so far")
    outer_legend(axes, [handles[pair] for pair in sorted(handles)], "trials at once")
    return figure


def time_unit(hours: Sequence[float]) -> tuple[str, float]:
    """The unit in which such times read well, and how many of it an hour has."""
    longest = max(hours)
    return ("hours", 1.0) if longest >= 1 else ("minutes", 60.0) if longest >= 1 / 60 else ("seconds", 3600.0)


def _law(axes: Axes, fit: Fit, reach: Any) -> Iterator[Any]:
    """A law within the measurements and beyond them, with its interval."""
    predictions = [fit.predict(count) for count in reach]
    law, measured = np.array([one.throughput for one in predictions]), reach <= fit.largest
    color = _LAW_COLORS[fit.law]
    yield from axes.plot(reach[measured], law[measured], color=color, label=f"law: {fit.law}")
    yield from axes.plot(reach[~measured], law[~measured], color=color, linestyle="--", label="beyond measurements")
    band = ([one.low for one in predictions], [one.high for one in predictions])
    yield axes.fill_between(reach, *band, color=color, alpha=0.16, linewidth=0, label="95 % interval")


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
