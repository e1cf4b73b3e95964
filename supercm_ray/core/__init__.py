"""The SuperCM method in plain PyTorch: usable in any training loop, with no other part of this package.

logits, assignments = clustering_module(features)
centroids.update(features[:num_labeled].detach(), labels)
loss = supervised_loss(logits[:num_labeled], labels)
loss = loss + clustering_weight * clustering_loss(features, assignments, centroids.value, seen=centroids.seen)
"""

from supercm_ray.core.averages import update_average
from supercm_ray.core.centroids import CentroidRule, LearnedCentroids, RunningCentroids, class_sums
from supercm_ray.core.clustering import ClusteringModule, balance_prior, clustering_loss
from supercm_ray.core.losses import supervised_loss
from supercm_ray.core.schedules import gaussian_ramp
from supercm_ray.core.workers import from_all, from_first, gather, num_workers, own_rows, rank, share, total

__all__ = [
    "CentroidRule",
    "ClusteringModule",
    "LearnedCentroids",
    "RunningCentroids",
    "balance_prior",
    "class_sums",
    "clustering_loss",
    "from_all",
    "from_first",
    "gather",
    "gaussian_ramp",
    "num_workers",
    "own_rows",
    "rank",
    "share",
    "supervised_loss",
    "total",
    "update_average",
]
