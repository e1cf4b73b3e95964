"""Which training samples are labeled where `data.label_choice` chooses them by their inputs, before any label is known.

A choice is an order of the samples, of which as many as asked for are labeled: fewer labels are thus a subset of more.
Nothing here reads a label; whether a label is known has been asked before.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from supercm_ray.config import DataConfig
from supercm_ray.data.choice_features import choice_features, input_blocks
from supercm_ray.data.coverage import coverage_order
from supercm_ray.data.dataset import Dataset
from supercm_ray.data.images import StreamedImages
from supercm_ray.data.reasons import counted
from supercm_ray.data.splits import Splits
from supercm_ray.data.standardise import standardised_by
from supercm_ray.data.typical import typical_order
from supercm_ray.errors import StudyError

Indices = npt.NDArray[np.int64]
_Order = Callable[[npt.NDArray[np.float64], int, int, np.random.Generator], Indices]

_FRACTION = 0.8
"""Fraction of the samples that a seed chooses from first, so that seeds differ where clusters are clear."""
_MOST_REMEMBERED = 32


class _Rule(NamedTuple):
    """A rule of choice: the order of samples by their features, and how many of them at most it is given."""

    order: _Order
    most_samples: int


_RULES = {
    "typical": _Rule(typical_order, 20_000),
    "coverage": _Rule(
        lambda features, num_labels, num_classes, _: coverage_order(features, num_labels, num_classes), 5_000
    ),
}
_remembered: OrderedDict[bytes, Indices] = OrderedDict()
"""Choices that this process has made lately, since a study asks for the same ones several times."""


def choose_labeled(dataset: Dataset, candidates: Indices, data: DataConfig, seed: int) -> Indices:
    """Returns the samples to be labeled, by their inputs alone: `labels_per_class` times the number of classes in all,
    or `label_ratio` of the candidates. Classes may get unequal numbers of them, or none.

    A seed chooses among a random fraction of the candidates, and among some thousands at most, so that the time is
    bounded; where more are asked for, others follow in random order.

    Args:
        dataset: the data set, of which the images and the number of classes are read.
        candidates: the training samples with a known label, which an annotator could be asked for.
        data: the rule, the number of labels and `split_seed`.
        seed: the seed of the run; others choose other samples.

    Raises:
        StudyError: for images that are streamed, and for no labels or more than there are candidates.
    """
    if isinstance(dataset.images, StreamedImages):
        raise StudyError(
            f"inputs must be in memory for data.label_choice={data.label_choice}, got images that stay on disk; choose "
            "by features that `supercm-ray embed` makes, and name that run's splits.npz in data.splits, or raise "
            "data.options.memory_gib"
        )
    num_labels = _num_labels(data, len(candidates), dataset.num_classes)
    rule, random = _RULES[data.label_choice], np.random.default_rng((data.split_seed, 3, seed))
    candidates = np.sort(candidates)
    order = random.permutation(candidates)
    pool = order[: min(math.ceil(_FRACTION * len(order)), rule.most_samples)]
    dataset = standardised_by(dataset, candidates, data)
    key = _key(dataset, pool, num_labels, data.label_choice, seed)
    if key not in _remembered:
        num_pool = min(num_labels, len(pool))
        with _one_thread():
            first = rule.order(choice_features(dataset, pool), num_pool, dataset.num_classes, random)
        _remembered[key] = np.concatenate([pool[first], np.delete(pool, first), order[len(pool) :]])[:num_labels]
        while len(_remembered) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)
    return _remembered[key].copy()


def choice_notes(dataset: Dataset, splits: Splits, data: DataConfig) -> tuple[str, ...]:
    """Returns a note of the classes that the chosen samples leave without a label."""
    if data.label_choice == "random":
        return ()
    counts = np.bincount(dataset.labels[splits.labeled], minlength=dataset.num_classes)
    names = [f"{dataset.class_names[i]} with the seed of the base" for i in np.flatnonzero(counts == 0)]
    of = f"of {dataset.num_classes} classes have no sample that data.label_choice={data.label_choice} labels"
    return counted(names, f"{{}} {of}, and cannot be learned")


def _num_labels(data: DataConfig, num_candidates: int, num_classes: int) -> int:
    """Returns the number of labels in all.

    Raises:
        StudyError: if it is 0, or above the number of candidates.
    """
    if data.labels_per_class is not None:
        wanted, got = data.labels_per_class * num_classes, f"labels_per_class={data.labels_per_class}"
    else:
        assert data.label_ratio is not None
        wanted, got = round(data.label_ratio * num_candidates), f"label_ratio={data.label_ratio}"
    if not 0 < wanted <= num_candidates:
        raise StudyError(
            f"the number of labels must lie from 1 to {num_candidates}, the training samples with a known label, for "
            f"data.label_choice={data.label_choice}, got {wanted} with {got}; {'lower' if wanted else 'raise'} it"
        )
    return wanted


def _one_thread() -> AbstractContextManager[object]:
    """Returns a context in which one thread computes: sums of several depend on which comes first, and so would the
    choice.
    """
    from threadpoolctl import threadpool_limits  # needed for such choices alone

    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits


def _key(dataset: Dataset, pool: Indices, *others: object) -> bytes:
    """Returns a digest of all that a choice depends on."""
    digest = hashlib.blake2b(repr((dataset.num_classes, dataset.mean, dataset.std, others)).encode())
    digest.update(pool.tobytes())
    for block in input_blocks(dataset, pool):
        digest.update(block.tobytes())
    return digest.digest()
