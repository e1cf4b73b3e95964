"""Cross-entropy alone: the baselines without a loss on unlabeled samples, and SuperCM on its own."""

from __future__ import annotations

from supercm_ray.algorithms.base import ALGORITHMS, Step, Terms


@ALGORITHMS.register("supervised")
def supervised(step: Step) -> Terms:
    """Returns no term: the cross-entropy of labeled samples is part of every loss.

    With the clustering loss this is SuperCM on its own. With a clustering weight of 0 it is the baseline of labels
    alone, "source only" where there is a target domain: no unlabeled sample passes through the network.
    """
    return {}


@ALGORITHMS.register("adabn", requires={"unlabeled"})
def adabn(step: Step) -> Terms:
    """Returns no term; unlabeled samples pass through the network all the same, so that BatchNorm normalises by the
    statistics of both, in training and, by its running averages, afterwards.

    With a target domain and a clustering weight of 0 this is "source only, BatchNorm of both domains".

    Source: Li et al. 2016, "Revisiting batch normalization for practical domain adaptation" (arXiv 1603.04779), which
    trains with the source's statistics and evaluates with the target's.
    """
    return {}
