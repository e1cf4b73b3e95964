"""Plots of the best run's predictions; each function draws one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from supercm_ray.reporting.style import class_colors, new_axes, outer_legend, rasterized, styled
from supercm_ray.tuning.report.view import StoredPredictions

Array = npt.NDArray[Any]

_MAX_CLASSES_WITH_COUNTS = 25


@styled
def confusion(counts: Array, class_names: Sequence[str]) -> Figure:
    """Draws counts (K, K) of true against predicted classes, colored by their fraction of the true class."""
    num_classes = len(counts)
    side = min(9.0, max(4.2, 1.6 + 0.46 * num_classes))
    figure, axes = new_axes(side + 0.8, side)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(100 * fractions, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, shrink=0.8, label="fraction of the true class (%)").outline.set_visible(False)
    _class_ticks(axes, class_names)
    if num_classes <= _MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, counts, fractions)
    axes.grid(visible=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


@styled
def embedding(predicted: StoredPredictions, class_names: Sequence[str]) -> Figure:
    """Draws the features of the test samples and the centroids on the first two principal components of
    the features.
    """
    figure, axes = new_axes(8.0, 6.2)
    points, centroids, explained = project(predicted.features, predicted.centroids)
    colors = class_colors(len(class_names))
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=16,
        alpha=0.75,
        linewidths=0,
        c=[colors[k] for k in predicted.labels],
        rasterized=rasterized(len(points)),
    )
    wrong = predicted.labels != predicted.predictions
    axes.scatter(points[wrong, 0], points[wrong, 1], s=58, facecolors="none", edgecolors="#111111", linewidths=1.0)
    _mark_centroids(axes, centroids, predicted.seen, class_names, colors)
    axes.set_xlabel(f"component 1 ({100 * explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"component 2 ({100 * explained[1]:.0f} % of the variance)")
    outer_legend(axes, _handles(class_names, colors, int(wrong.sum()), len(wrong)), "true class")
    return figure


def project(features: Array, centroids: Array) -> tuple[Array, Array, Array]:
    """Projects features (N, D) and centroids (K, D) on the features' first two principal components.

    Returns:
        (N, 2), (K, 2), and the fraction of the variance that each of the two explains. A component that the features do
        not have, being too few or constant, is 0 and explains 0.
    """
    from sklearn.decomposition import PCA  # heavy, and needed for this figure alone

    with np.errstate(invalid="ignore"):  # no variance is divided by no variance
        pca = PCA(min(2, *features.shape), svd_solver="full").fit(features.astype(np.float64))
    absent = (0, 2 - pca.n_components_)
    points, means = (np.pad(pca.transform(one.astype(np.float64)), ((0, 0), absent)) for one in (features, centroids))
    return points, means, np.pad(np.nan_to_num(pca.explained_variance_ratio_), absent)


def _class_ticks(axes: Axes, class_names: Sequence[str]) -> None:
    step = 1 + len(class_names) // 50
    shown = range(0, len(class_names), step)
    names = [class_names[k] for k in shown]
    long = max(map(len, names)) > 3
    axes.set_xticks(
        shown,
        names,
        rotation=60 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )
    axes.set_yticks(shown, names)


def _write_counts(axes: Axes, counts: Array, fractions: Array) -> None:
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if fractions[row, column] > 0.55 else "#222222" if count else "#b5b5b5"
        axes.text(column, row, str(int(count)), ha="center", va="center", color=color, fontsize=9)


def _mark_centroids(
    axes: Axes, centroids: Array, seen: Array, class_names: Sequence[str], colors: Sequence[ColorType]
) -> None:
    halo = [patheffects.withStroke(linewidth=3.5, foreground="white")]
    for k in np.flatnonzero(seen).tolist():
        x, y = centroids[k]
        axes.plot(x, y, marker="X", markersize=15, color=colors[k], mec="black", mew=1.4, linestyle="none")
        axes.annotate(
            class_names[k],
            (x, y),
            xytext=(9, 7),
            textcoords="offset points",
            fontsize=12,
            fontweight="bold",
            path_effects=halo,
        )


def _handles(class_names: Sequence[str], colors: Sequence[ColorType], num_wrong: int, num_samples: int) -> list[Line2D]:
    if len(class_names) <= _MAX_CLASSES_WITH_COUNTS:
        classes = [
            Line2D([], [], linestyle="none", marker="o", color=color, label=name)
            for name, color in zip(class_names, colors, strict=True)
        ]
    else:
        classes = []
    cross: dict[str, Any] = {"linestyle": "none", "marker": "X", "markersize": 11, "color": "#cccccc", "mec": "black"}
    ring: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8, "mfc": "none", "mec": "#111111"}
    return [
        *classes,
        Line2D([], [], **cross, label="centroid"),
        Line2D([], [], **ring, label=f"misclassified\n({num_wrong} of {num_samples})"),
    ]
