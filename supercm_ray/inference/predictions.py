"""Predictions of a model. Shapes: N samples, D features, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """Predictions for N samples.

    Attributes:
        class_names: names of the K classes.
        names: names of the samples, such as paths, or their numbers from 0.
        probabilities: (N, K) the probability of each class.
        distances: (N, K) the Euclidean distance of the features to each class's centroid; NaN for a class whose
            centroid training has not set.
        features: (N, D) the backbone's output.
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: Floats
    distances: Floats
    features: Floats

    def __len__(self) -> int:
        """Returns the number of samples N."""
        return len(self.names)

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """(N,) the index of the most probable class of each sample."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def predicted(self) -> list[str]:
        """The name of the most probable class of each sample."""
        return [self.class_names[k] for k in self.indices]

    @property
    def distance(self) -> Floats:
        """(N,) the distance to the centroid of the predicted class."""
        return self.distances[np.arange(len(self)), self.indices]

    @property
    def nearest(self) -> list[str]:
        """The name of the class whose centroid is nearest to each sample; empty if no class has a centroid."""
        known = np.where(np.isnan(self.distances), np.inf, self.distances)
        return [self.class_names[k] if np.isfinite(known[i, k]) else "" for i, k in enumerate(known.argmin(axis=1))]

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Joins the predictions of one model for several batches, at least one."""
        return cls(
            parts[0].class_names,
            tuple(name for part in parts for name in part.names),
            *(
                np.concatenate([getattr(part, column) for part in parts])
                for column in ("probabilities", "distances", "features")
            ),
        )
