"""What a run says on its way, from the training process to its record.

Every message says by `order` where it stands among those of its run, so that a run that begins again from a checkpoint
tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Arrays: TypeAlias = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of an epoch.

    Attributes:
        epoch: number, from 1.
        metrics: numbers by name, such as `train/loss`, `val/accuracy` and `epoch_seconds`.
    """

    epoch: int
    metrics: Mapping[str, float]

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch


@dataclass(frozen=True)
class Predictions:
    """What a run predicts on the test split after its last epoch. N samples, D features, K classes.

    Attributes:
        epoch: the last one.
        accuracy: in [0, 1].
        loss: mean cross-entropy in nats.
        arrays: confusion (K, K), features (N, D), labels (N,), predictions (N,), centroids (K, D), seen (K,).
    """

    epoch: int
    accuracy: float
    loss: float
    arrays: Arrays

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch + 1

    @property
    def metrics(self) -> dict[str, float]:
        """The two numbers by name."""
        return {"test/accuracy": self.accuracy, "test/loss": self.loss}


@dataclass(frozen=True)
class RunFailed:
    """Why a run came to no result.

    Attributes:
        epoch: the last one done.
        reason: one line.
        by_process: whether its process failed, and not what it computed, so that it may be run again.
    """

    epoch: int
    reason: str
    by_process: bool = False

    @property
    def order(self) -> int:
        """Place among the messages of the run."""
        return 2 * self.epoch + 1


Message: TypeAlias = EpochMetrics | Predictions | RunFailed
