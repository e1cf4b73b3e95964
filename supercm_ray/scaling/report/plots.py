"""Plots of a scaling study; each function draws one from its analysis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from supercm_ray.reporting.style import group_colors, new_axes, outer_legend, styled
from supercm_ray.scaling.analysis import Analysis
from supercm_ray.scaling.fit import TRUSTED_FACTOR, Fit
from supercm_ray.scaling.repetition import PARTS
from supercm_ray.scaling.report.units import time_unit
from supercm_ray.scaling.speedup_models import Array, SpeedupModel

_MEASURED, _IDEAL, _SIMULATED = "#0072b2", "#7a7a7a", "#009e73"
_MODEL_COLORS: dict[SpeedupModel, str] = {"amdahl": "#cc79a7", "gustafson": "#e69f00", "universal": "#d55e00"}
_LINES = ("-", "--", ":", "-.")
_PART_COLORS = dict(zip(PARTS, ("#0072b2", "#e69f00", "#cc79a7", "#9a9a9a"), strict=True))
_MARKERS = {"ring": "^", "hierarchical": "v"}


@styled
def throughput(found: Analysis) -> Figure:
    """Draws samples per second against workers: each repetition, the ideal line, the leading speedup models, and
    simulated steps.
    """
    figure, axes = new_axes()
    measured = sorted(found.throughputs)
    reach = np.geomspace(measured[0], TRUSTED_FACTOR * measured[-1], 40)
    handles: list[Artist] = [*axes.plot(reach, _alone(found) * reach, color=_IDEAL, linestyle=":", label="ideal")]
    for fit in found.leading:
        handles += _model(axes, fit, reach)
    points = [(count, value) for count in measured for value in found.throughputs[count]]
    counts, values = zip(*points, strict=True)
    handles += axes.plot(counts, values, "o", color=_MEASURED, alpha=0.8, label="measured, a repetition")
    handles += _simulated(axes, found)
    ticks = {*measured, *(one.num_workers for one in found.simulated), TRUSTED_FACTOR * measured[-1]}
    _workers_axis(axes, sorted(ticks))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="workers", ylabel="samples per second, labeled and unlabeled")
    outer_legend(axes, handles)
    return figure


@styled
def efficiency(found: Analysis) -> Figure:
    """Draws efficiency against workers, for each repetition and by the best speedup model, with the
    efficiency floor.
    """
    assert found.choice is not None
    figure, axes = new_axes(5.6, 3.7)
    measured, alone = sorted(found.throughputs), _alone(found)
    points = [(count, 100 * value / alone / count) for count in measured for value in found.throughputs[count]]
    axes.plot(*zip(*points, strict=True), "o", color=_MEASURED, alpha=0.6)
    if found.fits:
        best, reach = found.fits[0], np.geomspace(measured[0], measured[-1], 40)
        values = [100 * best.throughput(count) / alone / count for count in reach]
        line = axes.plot(reach, values, color=_MODEL_COLORS[best.model], label=f"model: {best.model}")
        axes.legend(handles=line, loc="lower left")
    floor = 100 * found.choice.floor
    axes.axhline(100, color=_IDEAL, linestyle=":")
    axes.axhline(floor, color=_IDEAL, linewidth=0.9)
    axes.annotate("floor", (measured[0], floor), xytext=(0, 3), textcoords="offset points", fontsize=9)
    axes.plot(measured, [100 * cost.efficiency for cost in found.costs], "-", color=_MEASURED)
    _workers_axis(axes, measured)
    axes.set_ylim(0, 1.05 * max(100.0, *(value for _, value in points)))
    axes.set(xlabel="workers", ylabel="efficiency (%)")
    return figure


@styled
def breakdown(found: Analysis) -> Figure:
    """Draws the parts of the median step at each number of workers."""
    figure, axes = new_axes(5.6, 3.7)
    names = [str(point.num_workers) for point in found.points]
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
    """Draws the cost of the whole job against its time, a point for each number of workers."""
    figure, axes = new_axes(5.6, 3.7)
    priced = all(cost.money is not None for cost in found.costs)
    unit, factor = time_unit([cost.hours for cost in found.costs])
    times = [cost.hours * factor for cost in found.costs]
    spent = [cost.money if cost.money is not None else cost.gpu_hours * factor for cost in found.costs]
    axes.plot(times, spent, "o-", color=_MEASURED)
    for cost, time, money in zip(found.costs, times, spent, strict=True):
        axes.annotate(str(cost.num_workers), (time, money), xytext=(6, 5), textcoords="offset points")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.15 * max(spent))
    axes.margins(x=0.1)
    axes.set(xlabel=f"time of the job ({unit})", ylabel="money" if priced else f"workers times {unit}")
    return figure


@styled
def tuning(found: Analysis) -> Figure:
    """Draws the best value of each search against time: colors show numbers of concurrent trials, line styles GPU
    fractions.
    """
    figure, axes = new_axes()
    runs = [run for run in found.measured.tuning if run.best]
    at_once = sorted({run.trials_at_once for run in found.measured.tuning})
    shares = sorted({run.gpus_per_trial for run in found.measured.tuning})
    colors = dict(zip(at_once, group_colors(len(at_once)), strict=True))
    handles: dict[tuple[int, float], Artist] = {}
    for run in runs:
        times, values = zip(*run.best, (run.seconds, run.best[-1][1]), strict=True)
        line = _LINES[shares.index(run.gpus_per_trial) % len(_LINES)]
        label = f"{run.trials_at_once}, {run.gpus_per_trial:g} GPU each" if shares != [0] else f"{run.trials_at_once}"
        color = colors[run.trials_at_once]
        handles[run.setting] = axes.step(times, values, where="post", label=label, color=color, linestyle=line)[0]
    axes.set_xlim(left=0)
    metric = found.measured.objective.metric if found.measured.objective else "value"
    axes.set(xlabel="seconds", ylabel=f"best {metric} so far")
    outer_legend(axes, [handles[setting] for setting in sorted(handles)], "trials at once")
    return figure


def _alone(found: Analysis) -> float:
    """Returns samples per second of one worker, or those of the smallest number of workers divided by it."""
    fewest = min(found.throughputs)
    return statistics.median(found.throughputs[fewest]) / fewest


def _model(axes: Axes, fit: Fit, reach: Array) -> Iterator[Artist]:
    """Draws a speedup model within the measurements and beyond them, with its interval."""
    predictions = [fit.predict(count) for count in reach.tolist()]
    values, measured = np.array([one.throughput for one in predictions]), reach <= fit.max_workers
    color = _MODEL_COLORS[fit.model]
    yield from axes.plot(reach[measured], values[measured], color=color, label=f"model: {fit.model}")
    yield from axes.plot(reach[~measured], values[~measured], color=color, linestyle="--", label="beyond measurements")
    band = ([one.low for one in predictions], [one.high for one in predictions])
    yield axes.fill_between(reach, *band, color=color, alpha=0.16, linewidth=0, label="95 % interval")


def _simulated(axes: Axes, found: Analysis) -> list[Artist]:
    handles: dict[str, Artist] = {}
    for one in found.simulated:
        label = f"simulated, {one.reduction}"
        batch = found.measured.repetitions[0]
        weak = found.measured.mode == "weak"
        per_step = batch.samples / batch.num_workers * one.num_workers if weak else batch.samples
        handles[label] = axes.plot(
            one.num_workers, per_step / one.step_s, _MARKERS[one.reduction], mfc="none", mec=_SIMULATED, label=label
        )[0]
    return list(handles.values())


def _workers_axis(axes: Axes, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    spread = math.sqrt(2) if len(ticks) > 1 else 2
    axes.set_xlim(ticks[0] / spread, ticks[-1] * spread)
