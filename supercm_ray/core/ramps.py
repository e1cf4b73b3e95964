"""Loss weights that change during training."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_ramp(step: Tensor, warmup_steps: int) -> Tensor:
    """Computes `exp(-5 (1 - min(step / warmup_steps, 1))^2)`, a scalar that rises from exp(-5) to 1; 1 if
    `warmup_steps` is 0.

    Source: Laine and Aila 2017, "Temporal ensembling" (arXiv 1610.02242); used by Singh et al. 2023 on the SSL term.
    """
    if warmup_steps <= 0:
        return torch.ones((), device=step.device)
    remaining = 1.0 - (step / warmup_steps).clamp(max=1.0)
    return torch.exp(-5.0 * remaining.square())
