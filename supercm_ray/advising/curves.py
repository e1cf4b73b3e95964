"""The family of learning curves, the error of a classifier against its number of labels, on a grid with a prior.

With n labels trained on, the largest number measured N, and the error e(N) there:

    e(n) / e(N) = c + (1 - c) ((n + d) / (N + d))^-b        b: exponent, d: shift in labels, c: asymptote

Without shift and asymptote it is a power law. An asymptote flattens the curve at many labels, a shift at few. The prior
says what such curves are like before one is seen: few numbers of labels do not tell the exponent from the asymptote,
which matters most where the curve is extrapolated.

Shapes: G curves of the grid, C numbers of labels, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
CurveModel: TypeAlias = Literal["power", "power + asymptote", "shifted power", "shifted power + asymptote"]

CURVE_MODELS: tuple[CurveModel, ...] = ("power", "power + asymptote", "shifted power", "shifted power + asymptote")
"""The models, by whether a curve has a shift and an asymptote: at index 2 * shift + asymptote."""

ASYMPTOTE_WEIGHT, SHIFT_WEIGHT = 0.7, 0.5
"""Prior probability of an asymptote, and of a shift."""
EXPONENT, EXPONENT_SPREAD = 0.5, 0.5
"""Median of the exponent in the prior, which is log-normal, and standard deviation of its logarithm."""

_EXPONENTS = np.geomspace(0.05, 4.0, 45)
_ASYMPTOTES = np.concatenate([[0.0], np.linspace(0.02, 0.98, 25)])
_SHIFTS = np.concatenate([[0.0], np.geomspace(0.05, 5.0, 12)])  # in units of the largest number of labels


@dataclass(frozen=True)
class Curves:
    """Curves relative to their error at the largest number of labels measured; all arrays have one shape.

    Attributes:
        num_labels: that largest number.
        exponent: b.
        shift: d.
        asymptote: c, from 0 to below 1.
    """

    num_labels: float
    exponent: Array
    shift: Array
    asymptote: Array

    def take(self, chosen: npt.NDArray[np.int64]) -> Curves:
        """Returns the curves at these indices."""
        return Curves(self.num_labels, self.exponent[chosen], self.shift[chosen], self.asymptote[chosen])

    def log_errors(self, num_labels_C: Array) -> Array:
        """Computes log e(n) / e(N) (..., C) of each curve at each number of labels."""
        exponent, shift, asymptote = (one[..., None] for one in (self.exponent, self.shift, self.asymptote))
        powers = ((num_labels_C + shift) / (self.num_labels + shift)) ** -exponent
        found: Array = np.log(asymptote + (1 - asymptote) * powers)
        return found

    def num_labels_at(self, log_error: Array) -> Array:
        """Computes the number of labels (...) at which log e(n) / e(N) is this; infinite at and below the asymptote."""
        excess = (np.exp(log_error) - self.asymptote) / (1 - self.asymptote)
        reached = excess > 0
        with np.errstate(over="ignore"):
            powers = np.where(reached, excess, 1.0) ** (-1 / self.exponent)
            found: Array = np.where(reached, (self.num_labels + self.shift) * powers - self.shift, np.inf)
        return found

    @property
    def models(self) -> npt.NDArray[np.int64]:
        """The index of each curve's model."""
        found: npt.NDArray[np.int64] = 2 * (self.shift > 0) + (self.asymptote > 0)
        return found


def grid(num_labels: float) -> tuple[Curves, Array]:
    """Returns the curves of the grid (G,) and the logarithms of their prior probabilities (G,)."""
    exponent, shift, asymptote = (
        one.ravel() for one in np.meshgrid(_EXPONENTS, _SHIFTS * num_labels, _ASYMPTOTES, indexing="ij")
    )
    log_prior = -0.5 * (np.log(exponent / EXPONENT) / EXPONENT_SPREAD) ** 2
    for values, weight, num in ((asymptote, ASYMPTOTE_WEIGHT, len(_ASYMPTOTES)), (shift, SHIFT_WEIGHT, len(_SHIFTS))):
        log_prior += np.log(np.where(values > 0, weight / (num - 1), 1 - weight))
    return Curves(num_labels, exponent, shift, asymptote), log_prior - np.logaddexp.reduce(log_prior)
