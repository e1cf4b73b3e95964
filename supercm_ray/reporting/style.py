"""How figures look: one palette for all of them, and how they become SVG text and PNG files."""

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
"""Settings under which figures are made and saved. Class names and paths are never read as formulas."""

PNG_DPI = 160

ARM_STYLES: dict[str, dict[str, Any]] = {
    TUNED: {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    BASELINE: {"color": "#d55e00", "marker": "s", "linestyle": "--"},
}

CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colours that colour-blind readers tell apart (Petroff 2021)."""

_RASTER_ABOVE = 2000
"""Points above which a scatter is drawn as an image inside the SVG."""


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Runs a function that draws or saves under this house's settings, and leaves those of the process alone."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def group_colors(num_levels: int) -> list[ColorType]:
    """A colour for each group, dark for the lowest, in an order that survives grey print."""
    if num_levels < 2:
        return ["#0072b2"] * num_levels
    colormap = mpl.colormaps["plasma"]
    return [colormap(0.03 + 0.79 * i / (num_levels - 1)) for i in range(num_levels)]


def class_colors(num_classes: int) -> list[ColorType]:
    """A colour for each class."""
    if num_classes <= len(CLASS_COLORS):
        return list(CLASS_COLORS[:num_classes])
    colormap = mpl.colormaps["turbo"]
    return [colormap(i / (num_classes - 1)) for i in range(num_classes)]


def new_axes(width: float = 8.0, height: float = 4.4) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure, figure.add_subplot()


def plain_log(axes: Axes) -> None:
    """Makes x logarithmic, with ticks that read 0.003 and not as powers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def outer_legend(axes: Axes, handles: Sequence[Artist | Container], title: str = "") -> Legend | None:
    """A legend to the right of the axes, where it hides nothing."""
    if not handles:
        return None
    return axes.legend(
        handles=list(handles), title=title or None, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left"
    )


def rasterized(num_points: int) -> bool:
    """Whether so many points are better an image than paths."""
    return num_points > _RASTER_ABOVE


@styled
def to_svg(figure: Figure) -> str:
    """The figure as SVG text, the same for the same figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


@styled
def save_png(figure: Figure, path: Path) -> Path:
    """Writes the figure as a PNG file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return partial.replace(path)
