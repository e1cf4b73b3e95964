"""Cross-entropy on the labeled rows alone. With the clustering loss this is SuperCM on its own."""

from __future__ import annotations

from torch import Tensor

from supercm_ray.algorithms.base import ALGORITHMS
from supercm_ray.core import supervised_loss
from supercm_ray.data import Batch
from supercm_ray.models import Outputs


def supervised(outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
    """The mean cross-entropy over the labeled rows."""
    return {"supervised": supervised_loss(outputs.logits[: len(batch.labels)], batch.labels)}


ALGORITHMS["supervised"] = supervised
