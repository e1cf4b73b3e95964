"""Samples that stand in several splits under different indices: a test on them would say nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from supercm_ray.data.dataset import Dataset
from supercm_ray.data.images import Digests, digests_of
from supercm_ray.data.splits import Splits
from supercm_ray.errors import StudyError

_Numbers = npt.NDArray[np.intp]
"""For each sample a number that identical samples share."""
_FEWEST_DISTINCT = 10
"""Fewest different samples of a test set for which it is refused if training has them all."""


def sample_digests(dataset: Dataset) -> Digests:
    """Returns a digest (N,) of each sample's input, equal for equal inputs. Streamed images were digested when they
    were checked.
    """
    return digests_of(dataset.images)


def fingerprint(dataset: Dataset, digests: Digests, splits: Splits) -> str:
    """Returns a digest of all samples with their labels in their order, and of the splits, by which changed data are
    noticed.
    """
    parts = (splits.labeled, splits.unlabeled, splits.val, splits.test)
    contents = [digests.tobytes(), dataset.labels.tobytes(), *(part.tobytes() for part in parts)]
    return hashlib.blake2b(b"|".join(contents), digest_size=16).hexdigest()


def samples_digest(dataset: Dataset, digests: Digests) -> str:
    """Returns a digest of all samples with their labels in their order, whatever the splits, by which equal data under
    different splits are found.
    """
    contents = digests.tobytes() + b"|" + dataset.labels.tobytes()
    return hashlib.blake2b(contents, digest_size=16).hexdigest()


def check_overlap(dataset: Dataset, splits: Splits, digests: Digests) -> tuple[str, ...]:
    """Counts samples that are identical to samples of another split, and returns a sentence on each pair of splits that
    share some.

    Args:
        dataset: the data set.
        splits: its splits. The same sample in two of them, as for transductive adaptation, is not counted.
        digests: the digest of each sample.

    Raises:
        StudyError: if a test set that was given consists of training samples, or source and target of the same samples.
    """
    same = np.unique(digests, return_inverse=True)[1]
    _check_domains(dataset, same)
    _check_test(dataset, splits, same)
    notes = []
    for name, other in (("test", "training"), ("val", "training"), ("test", "val")):
        mine, theirs = getattr(splits, name), getattr(splits, other)
        theirs = np.setdiff1d(theirs, mine)
        shared = mine[np.isin(same[mine], same[theirs])]
        if not len(shared):
            continue
        twin = theirs[same[theirs] == same[shared[0]]][0]
        words = "validation" if name == "val" else name
        others = "validation" if other == "val" else other
        notes.append(
            f"{len(shared)} of {len(mine)} {words} samples are identical to {others} samples, such as {shared[0]} to "
            f"{twin}: figures on them are too good"
        )
    return tuple(notes)


def _check_test(dataset: Dataset, splits: Splits, same: _Numbers) -> None:
    """Checks that a test set of its own does not consist of samples used for training and validation, if it has enough
    different ones for this to be no chance.
    """
    test = splits.test
    used = np.setdiff1d(np.union1d(splits.training, splits.val), test)
    distinct = np.unique(same[test])
    if dataset.test_indices is None or len(distinct) < min(_FEWEST_DISTINCT, len(test)):
        return
    if len(test) and len(used) and np.isin(distinct, same[used]).all():
        twin = used[same[used] == same[test[0]]][0]
        raise StudyError(
            f"the test samples must not be training or validation samples for data.name={dataset.name}, got all "
            f"{len(test)} of them identical to such (sample {test[0]} to {twin}); name another test set"
        )


def _check_domains(dataset: Dataset, same: _Numbers) -> None:
    """Checks that source and target are not the same samples."""
    target = dataset.target_indices
    if target is None:
        return
    source = np.setdiff1d(np.arange(len(same)), target)
    smaller, larger = sorted((np.unique(same[source]), np.unique(same[target])), key=len)
    if len(smaller) >= _FEWEST_DISTINCT and np.isin(smaller, larger).all():
        raise StudyError(
            f"source and target must hold different samples for data.target, got all {len(smaller)} different samples "
            "of one in the other; name another"
        )
