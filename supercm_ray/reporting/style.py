"""The style of plots, and writing them as SVG text and PNG files."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.typing import ColorType

from supercm_ray.search.finalists import BASELINE, TUNED

P = ParamSpec("P")
T = TypeVar("T")

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "text.parse_math": False,
    "svg.hashsalt": "supercm_ray",
    "svg.fonttype": "path",
}
"""Matplotlib parameters for drawing and saving plots. Class names and paths are never parsed as formulas."""

PNG_DPI = 160

ARM_STYLES: dict[str, dict[str, Any]] = {
    TUNED: {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    BASELINE: {"color": "#d55e00", "marker": "s", "linestyle": "--"},
}

CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colors that are distinguishable with color vision deficiency (Petroff 2021)."""

_RASTER_ABOVE = 2000
"""Number of points above which a scatter plot is drawn as an image inside the SVG."""


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function that draws or saves, so that it uses `RC` and leaves the process's own
    parameters unchanged.
    """

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def group_colors(num_groups: int) -> list[ColorType]:
    """Returns a color for each group, dark for the lowest, in an order that is visible in grey print."""
    if num_groups < 2:
        return ["#0072b2"] * num_groups
    colormap = mpl.colormaps["plasma"]
    return [colormap(0.03 + 0.79 * i / (num_groups - 1)) for i in range(num_groups)]


def class_colors(num_classes: int) -> list[ColorType]:
    """Returns a color for each class."""
    if num_classes <= len(CLASS_COLORS):
        return list(CLASS_COLORS[:num_classes])
    colormap = mpl.colormaps["turbo"]
    return [colormap(i / (num_classes - 1)) for i in range(num_classes)]


def new_axes(width: float = 8.0, height: float = 4.4) -> tuple[Figure, Axes]:
    """Creates a figure with one pair of axes; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure, figure.add_subplot()


def plain_log(axes: Axes) -> None:
    """Makes the x axis logarithmic, with tick labels such as 0.003 instead of powers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def outer_legend(axes: Axes, handles: Sequence[Artist | Container], title: str = "") -> Legend | None:
    """Adds a legend to the right of the axes."""
    if not handles:
        return None
    return axes.legend(
        handles=list(handles), title=title or None, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left"
    )


def rasterized(num_points: int) -> bool:
    """Returns whether this many points are better drawn as an image than as paths."""
    return num_points > _RASTER_ABOVE


@styled
def to_svg(figure: Figure) -> str:
    """Converts a figure to SVG text, always the same for the same figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


@styled
def save_png(figure: Figure, path: Path) -> Path:
    """Writes a figure as a PNG file, atomically."""
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return partial.replace(path)
