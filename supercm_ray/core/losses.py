"""Loss terms other than clustering. Shapes: B samples, K classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the cross-entropy of logits (B, K) against labels (B,), the mean over the labeled samples, a scalar in
    fp32 or better.

    Note:
        The published code divides by all samples of the batch, labeled and unlabeled; with equal numbers of both its
        weights count twice what they do here.
    """
    return functional.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
