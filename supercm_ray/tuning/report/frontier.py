"""The plot of the table: the accuracy of each arm in each group. Accuracies are in percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from supercm_ray.reporting.style import ARM_STYLES, new_axes, outer_legend, rasterized, styled
from supercm_ray.reporting.tables import value_text
from supercm_ray.search import Group
from supercm_ray.search.finalists import BASELINE, TUNED, Row
from supercm_ray.tuning.report.view import ReportData

_FAINT: dict[str, Any] = {"color": "#767676", "alpha": 0.45, "linestyle": "none", "marker": "o", "markersize": 4.5}
_TRIALS = "trials"
_SIDES = {_TRIALS: -1, TUNED: 0, BASELINE: 1}


@dataclass(frozen=True)
class _Places:
    """Positions of groups on the x axis; points of the same group are placed side by side, `step` apart, so that none
    is hidden.
    """

    of_group: dict[Group, float]
    is_log: bool
    step: float

    def x(self, groups: Sequence[Group], name: str) -> npt.NDArray[np.float64]:
        """Returns the positions of an arm, or of the trials, in these groups."""
        middle = np.asarray([self.of_group[group] for group in groups], dtype=np.float64)
        side = _SIDES[name] * self.step
        return middle * (1 + side) if self.is_log else middle + side


@styled
def frontier(data: ReportData) -> Figure:
    """Draws accuracy against the group: both arms on the test split if there is one, and all trials on the validation
    split.
    """
    figure, axes = new_axes()
    places = _place_groups(axes, data) if data.study.group_paths else _place_arms(axes)
    handles: list[Artist | ErrorbarContainer] = [
        _draw_arm(axes, arm, rows, places)
        for arm in ARM_STYLES
        if (rows := [row for row in data.rows if row.arm == arm])
    ]
    if any(view.val_accuracy is not None for view in data.trials):
        handles.append(_draw_trials(axes, data, places))
    axes.set_ylabel("accuracy (%)")
    outer_legend(axes, handles)
    return figure


def _place_arms(axes: Axes) -> _Places:
    """Places the trials and the arms beside each other, for a study without a group path."""
    axes.set_xticks(list(_SIDES.values()), list(_SIDES))
    axes.set_xlim(-1.6, 1.6)
    return _Places({(): 0.0}, is_log=False, step=1.0)


def _place_groups(axes: Axes, data: ReportData) -> _Places:
    """Places groups to scale for one group path of numbers, else at equal distances."""
    groups = data.groups
    axes.set_xlabel(", ".join(data.study.group_paths))
    numbers = [group[0] for group in groups if len(group) == 1 and isinstance(group[0], int | float)]
    if not groups or len(numbers) < len(groups):
        axes.set_xticks(range(len(groups)), [", ".join(map(value_text, group)) for group in groups])
        axes.set_xlim(-0.6, len(groups) - 0.4)
        return _Places({group: float(i) for i, group in enumerate(groups)}, is_log=False, step=0.08)
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and high > 5 * low
    axes.set_xscale("log" if is_log else "linear")
    axes.set_xticks(numbers, [value_text(number) for number in numbers])
    axes.set_xticks([], minor=True)
    room = 0.1 * (high - low) or 0.5
    axes.set_xlim(*((low / 1.25, high * 1.25) if is_log else (low - room, high + room)))
    return _Places(dict(zip(groups, map(float, numbers), strict=True)), is_log, 0.03 if is_log else 0.15 * room)


def _draw_trials(axes: Axes, data: ReportData, places: _Places) -> Line2D:
    views = [view for view in data.trials if view.val_accuracy is not None]
    x = places.x([data.study.group(view.record.overrides) for view in views], _TRIALS)
    y = [100 * view.metrics["val/accuracy"] for view in views]
    (dots,) = axes.plot(x, y, **_FAINT, mew=0, rasterized=rasterized(len(views)), label="trials, val/accuracy")
    return dots


def _draw_arm(axes: Axes, arm: str, rows: Sequence[Row], places: _Places) -> ErrorbarContainer:
    tested = [row.test_accuracy for row in rows if row.test_accuracy is not None]
    values = tested if len(tested) == len(rows) else [row.val_accuracy for row in rows]
    means, stds = (100 * np.asarray(column) for column in zip(*values, strict=True))
    label = f"{arm}, {'test' if values is tested else 'val'}/accuracy,\nmean ± std over seeds"
    return axes.errorbar(
        places.x([row.group for row in rows], arm),
        means,
        np.nan_to_num(stds),
        **ARM_STYLES[arm],
        capsize=4,
        linewidth=1.8,
        markersize=6,
        label=label,
    )
