"""The SuperCM method in plain PyTorch, for use in any training loop. It imports no other part of this package.

logits, _ = clustering_module(features)
centroids.update(features[:num_labeled].detach(), labels)
loss = supervised_loss(logits[:num_labeled], labels)
loss = loss + clustering_weight * clustering_loss(features, logits, centroids.value, seen=centroids.seen)
"""

from supercm_ray.core.centroids import CentroidRule, LearnedCentroids, RunningCentroids, class_sums
from supercm_ray.core.clustering import ClusteringModule, balance_prior, clustering_loss
from supercm_ray.core.distributed import (
    all_gather,
    all_gather_object,
    all_reduce_logsumexp,
    all_reduce_sum,
    broadcast_object,
    local_shard,
    own_samples,
    rank,
    world_size,
)
from supercm_ray.core.ema import update_ema
from supercm_ray.core.losses import supervised_loss
from supercm_ray.core.ramps import gaussian_ramp

__all__ = [
    "CentroidRule",
    "ClusteringModule",
    "LearnedCentroids",
    "RunningCentroids",
    "all_gather",
    "all_gather_object",
    "all_reduce_logsumexp",
    "all_reduce_sum",
    "balance_prior",
    "broadcast_object",
    "class_sums",
    "clustering_loss",
    "gaussian_ramp",
    "local_shard",
    "own_samples",
    "rank",
    "supervised_loss",
    "update_ema",
    "world_size",
]
