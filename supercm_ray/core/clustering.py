"""The clustering module, a head that classifies and clusters, and the clustering loss.

Shapes: B samples, D features, K classes (= clusters). A suffix on a name gives its shape.

Source: Boubekki et al. 2021, "Joint optimization of an autoencoder for clustering and embedding"
(arXiv 2012.03740); Singh et al. 2025, "SuperCM" (arXiv 2507.13779).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from supercm_ray.core.distributed import all_reduce_logsumexp, world_size


class ClusteringModule(nn.Module):
    """A linear head whose softmax is both the class probability and the cluster assignment.

    `logits = (features W + b) / temperature`, `assignments = softmax(logits)`. Cross-entropy, the clustering
    loss, consistency terms and predictions all use the same tempered logits.
    """

    head: nn.Linear
    temperature: Tensor

    def __init__(self, num_features: int, num_classes: int, *, temperature: float = 1.0) -> None:
        """Creates the head with random weights.

        Args:
            num_features: D, the feature dimension.
            num_classes: K, the number of classes.
            temperature: divisor of the logits, above 0; kept as a scalar buffer.

        Raises:
            ValueError: if `temperature` is not positive, `num_features` is below 1 or `num_classes` is below 2.
        """
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"`temperature > 0` must hold, got temperature={temperature}")
        if num_features < 1 or num_classes < 2:
            raise ValueError(
                "`num_features >= 1` and `num_classes >= 2` must hold, "
                f"got num_features={num_features}, num_classes={num_classes}"
            )
        self.head = nn.Linear(num_features, num_classes)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Maps features (B, D) to logits (B, K) and assignments (B, K), both in fp32 or better."""
        logits_BK = self.head(features)
        logits_BK = logits_BK.to(_at_least_fp32(logits_BK)) / self.temperature
        return logits_BK, logits_BK.softmax(dim=1)


def clustering_loss(
    features: Tensor,
    logits: Tensor,
    centroids: Tensor,
    *,
    balance_alpha: float | Tensor = 1.0,
    seen: Tensor | None = None,
) -> Tensor:
    """Computes the soft k-means distortion `(1/BD) sum_ik g_ik ||x_i - mu_k||^2` for the assignments `g =
    softmax(logits)`, plus the optional balance prior.

    The distortion equals the sum E1 + E2 + E3 of Boubekki et al. 2021 (reconstruction, sparsity and overlap) and is
    computed in fp32 (fp64 for fp64 input) from squared distances, since the sum of the three terms cancels badly in
    half precision. The prior is E4, see `balance_prior`; it is absent at alpha = 1.

    Gradients flow to `features` and `logits`; centroids are data, so detach what is not meant to learn.

    Args:
        features: (B, D), any float type.
        logits: (B, K), any float type; log-probabilities are logits too.
        centroids: (K, D).
        balance_alpha: the Dirichlet parameter, a positive number or a tensor (K,).
        seen: (K,) booleans, false for a class that has no centroid yet. None means that all are seen. The distortion is
            that of the assignments among the seen classes, `softmax(logits[:, seen])`: an unseen class neither attracts
            a sample nor gives it shelter, and its logit gets no gradient. The balance prior counts all classes, so that
            an alpha above 1 draws samples to an unseen class too.

    Returns:
        A scalar in fp32 or better. Without a seen class the distortion is 0.

    Raises:
        ValueError: if the shapes do not fit together.

    Note:
        The work is that of two matrix products, one forward and one backward, and no tensor is larger than features,
        logits or centroids. A squared distance r^2 has a relative error of about eps R^2 / r^2, with R the distances of
        sample and centroid from the mean centroid; that to a sample's nearest centroid is computed from differences and
        has one of eps. Where products may be rounded to TF32, eps is that of TF32.
    """
    _check_shapes(features, logits, centroids, {"balance_alpha": balance_alpha, "seen": seen})
    dtype = _at_least_fp32(features)
    x_BD, logits_BK, mu_KD = features.to(dtype), logits.to(dtype), centroids.to(dtype)
    weight_BK = _assignments(logits_BK, seen)
    distortion = (weight_BK * _squared_distances(x_BD, mu_KD, seen)).sum() / features.numel()
    if isinstance(balance_alpha, float | int) and balance_alpha == 1.0:
        return distortion
    return distortion + balance_prior(logits_BK, balance_alpha)


def balance_prior(logits: Tensor, alpha: float | Tensor) -> Tensor:
    """Computes the balance prior, E4 of Boubekki et al. 2021, a scalar in fp32 or better: `sum_k (1 - alpha_k)
    log(mean_i g_ik)` for the assignments `g = softmax(logits)`, logits (B, K).

    It is a Dirichlet prior on the mean assignment, which favours balanced clusters for alpha > 1. On several workers
    the mean is over the samples of all, who hold equally many and must all call this. The means stay logarithms
    throughout, so that one that is too small for a float has its value, and the gradient that brings it back.
    """
    log_BK = logits.to(_at_least_fp32(logits)).log_softmax(dim=1)
    log_mean_K = all_reduce_logsumexp(log_BK.logsumexp(dim=0)) - math.log(len(logits) * world_size())
    return ((1.0 - alpha) * log_mean_K).sum()


def _assignments(logits_BK: Tensor, seen_K: Tensor | None) -> Tensor:
    """Computes the assignments among the seen classes; they are 0 for an unseen one, also if all are unseen."""
    if seen_K is None:
        return logits_BK.softmax(dim=1)
    masked_BK = logits_BK.masked_fill(~seen_K, torch.finfo(logits_BK.dtype).min)
    return masked_BK.softmax(dim=1) * seen_K


def _squared_distances(x_BD: Tensor, mu_KD: Tensor, seen_K: Tensor | None) -> Tensor:
    """Computes squared distances (B, K) by a matrix product of vectors from the mean of the seen centroids, so that a
    common offset does not cancel. The nearest centroid's distance, which may be far less than both vectors, is computed
    from differences. Distances to unseen classes are meaningless but finite.
    """
    seen_K1 = torch.ones_like(mu_KD[:, :1]) if seen_K is None else seen_K.to(mu_KD.dtype).unsqueeze(1)
    center_D = (seen_K1 * mu_KD).detach().sum(dim=0) / seen_K1.sum().clamp_min(1.0)
    from_BD, to_KD = x_BD - center_D, seen_K1 * (mu_KD - center_D)
    with torch.autocast(x_BD.device.type, enabled=False):
        product_BK = from_BD @ to_KD.T
    distance_BK = from_BD.square().sum(dim=1, keepdim=True) + to_KD.square().sum(dim=1) - 2.0 * product_BK
    nearest_B = distance_BK.detach().argmin(dim=1)
    is_nearest_BK = nearest_B.unsqueeze(1) == torch.arange(len(mu_KD), device=mu_KD.device)
    exact_B = (x_BD - mu_KD[nearest_B]).square().sum(dim=1)
    return torch.where(is_nearest_BK, exact_B.unsqueeze(1), distance_BK)


def _at_least_fp32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _check_shapes(
    features: Tensor, logits: Tensor, centroids: Tensor, vectors: dict[str, float | Tensor | None]
) -> None:
    shapes = (tuple(features.shape), tuple(logits.shape), tuple(centroids.shape))
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"features (B, D), logits (B, K) and centroids (K, D) must be matrices, got {shapes}")
    (indices, dim), (indices_g, classes), (classes_mu, dim_mu) = shapes
    for name, tensor in vectors.items():
        if isinstance(tensor, Tensor) and tensor.ndim > 0 and tuple(tensor.shape) != (classes,):
            raise ValueError(f"{name} must be (K,) = ({classes},), got {tuple(tensor.shape)}")
    if indices != indices_g or dim != dim_mu or classes != classes_mu:
        raise ValueError(f"features (B, D), logits (B, K) and centroids (K, D) must agree, got {shapes}")
