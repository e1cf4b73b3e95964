"""Typical samples of many clusters: TypiClust (Hacohen, Dekel and Weinshall 2022, Active Learning on a Budget). Shapes:
N samples, F features.
"""

from __future__ import annotations

import warnings
from itertools import takewhile

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_NUM_NEIGHBOURS = 20
_MOST_CLUSTERS, _FEWEST_SAMPLES = 500, 5
"""As published: clusters in all, and samples in one of them on average."""
_MOST_REFERENCES = 2000
"""Samples of a cluster among which nearest neighbours are sought, so that the time is linear in the samples."""
_MOST_EXACT = 500_000
"""Samples times clusters up to which clusters are made with all samples at once."""
_NUM_STARTS = 10


def typical_order(features: Floats, num_labels: int, num_clusters: int, random: np.random.Generator) -> Indices:
    """Returns the first `num_labels` samples of an order in which fewer are a subset of more.

    Samples are clustered, and the largest clusters without a chosen sample give their most typical one, until there are
    as many as clusters; then with twice as many clusters, and so on. Of the largest number of clusters each gives
    another sample in turn.

    Args:
        features: (N, F), in random order.
        num_labels: the number of samples, from 0 to N.
        num_clusters: the number of clusters at first, such as that of classes.
        random: the start of the clusters.
    """
    chosen: Indices = np.empty(0, dtype=np.int64)
    most = max(1, min(_MOST_CLUSTERS, len(features) // _FEWEST_SAMPLES))
    rounds = [*takewhile(lambda count: count < most, (num_clusters << i for i in range(64))), most]
    for count in rounds:
        if len(chosen) >= num_labels:
            break
        clusters = _clusters(features, count, int(random.integers(2**31)))
        wanted = (num_labels if count == most else min(count, num_labels)) - len(chosen)
        chosen = np.concatenate([chosen, _in_turn(features, clusters, chosen)[:wanted]])
    return chosen


def _clusters(features: Floats, num_clusters: int, seed: int) -> Indices:
    """Returns (N,) the cluster of each sample by k-means, by batches if there are many samples and clusters."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # heavy, and needed for such choices alone
    from sklearn.exceptions import ConvergenceWarning

    is_small = len(features) * num_clusters <= _MOST_EXACT
    kind = KMeans if is_small else MiniBatchKMeans
    with warnings.catch_warnings():  # of fewer different samples than clusters, which then are empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = kind(num_clusters, n_init=_NUM_STARTS, random_state=seed).fit(features)
    return np.asarray(found.labels_, dtype=np.int64)


def _in_turn(features: Floats, clusters: Indices, chosen: Indices) -> Indices:
    """Returns all samples but those chosen, first one of each cluster that has none, largest clusters first, then one
    of each that has one, and so on; in a cluster the most typical ones first.
    """
    is_open = np.ones(len(features), dtype=bool)
    is_open[chosen] = False
    sizes, turn = np.bincount(clusters), np.zeros(len(features), dtype=np.int64)
    for cluster in np.flatnonzero(sizes):
        members = np.flatnonzero(clusters == cluster)
        left = is_open[members]
        by_distance = np.argsort(_neighbour_distances(features[members])[left], kind="stable")
        turn[members[left][by_distance]] = np.arange(left.sum()) + (~left).sum()
    order = np.lexsort((clusters, -sizes[clusters], turn))
    return order[is_open[order]]


def _neighbour_distances(features: Floats) -> Floats:
    """Returns (N,) the mean distance of each sample to its nearest neighbours; a low one is typical of the cluster."""
    from sklearn.neighbors import NearestNeighbors  # heavy, and needed for such choices alone

    references = features[:_MOST_REFERENCES]
    num_neighbours = min(_NUM_NEIGHBOURS, len(references) - 1)
    if not num_neighbours:
        return np.zeros(len(features))
    distances, _ = NearestNeighbors(n_neighbors=num_neighbours + 1).fit(references).kneighbors(features)
    to_others = [distances[: len(references), 1:], distances[len(references) :, :-1]]  # a reference finds itself first
    return np.asarray(np.concatenate(to_others).mean(axis=1))
