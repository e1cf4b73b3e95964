"""Splits into labeled, unlabeled, validation and test samples: pure functions of the labels and two seeds.

A sample whose label is -1 is unlabeled for good: it can only be an unlabeled training sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from supercm_ray.config import Config, DataConfig
from supercm_ray.data.dataset import UNLABELED, Dataset
from supercm_ray.data.given_splits import GivenSplits, read_splits
from supercm_ray.data.label_choice import choose_labeled
from supercm_ray.data.splits import Splits
from supercm_ray.errors import StudyError

Indices = npt.NDArray[np.int64]
_Choice = Callable[[Indices], Indices]
"""Which of the training samples with a known label are labeled."""
_NONE: Indices = np.empty(0, dtype=np.int64)


def split_dataset(dataset: Dataset, config: Config) -> Splits:
    """Makes the splits of a data set under a configuration: those that `data.splits` gives, and the others by
    `make_splits` or, with a target domain, of its samples.

    Raises:
        StudyError: if a class would be left without a validation sample or, unless `data.label_choice` chooses them,
            a labeled one, or training without an unlabeled one that it draws.
    """
    given = read_splits(dataset, config.data, config.seed)
    choose = None
    if config.data.label_choice != "random":
        choose = partial(choose_labeled, dataset, data=config.data, seed=config.seed)
    if dataset.target_indices is None:
        own = {"test_indices": dataset.test_indices, "val_indices": dataset.val_indices}
        splits = make_splits(dataset.labels, config.data, config.seed, **own, given=given, choose=choose)
    else:
        splits = _split_domains(dataset, config.data, config.seed, given, choose)
    if not len(splits.unlabeled) and config.unlabeled_batch_size:
        raise StudyError(_no_unlabeled(config.data))
    return splits


def make_splits(
    labels: Indices,
    data: DataConfig,
    seed: int,
    test_indices: Indices | None = None,
    val_indices: Indices | None = None,
    given: GivenSplits | None = None,
    choose: _Choice | None = None,
) -> Splits:
    """Splits samples by class: test and validation by `data.split_seed` alone, labeled samples by `seed` as well.

    All seeds and trials of a study therefore share their test and validation samples, and no training sample of one is
    a test sample of another.

    Args:
        labels: (N,) class indices, -1 for unlabeled samples.
        data: the fractions, and `label_ratio` or `labels_per_class`.
        seed: decides which training samples are labeled.
        test_indices: the test split of a data set that has one of its own.
        val_indices: its validation split, likewise.
        given: splits that a file gives. Where it gives the test split, test samples of the data set's own that it does
            not list are in no split.
        choose: chooses the labeled samples under a `data.label_choice` that is not random; a class may then have none.

    Raises:
        StudyError: if a class would be left without a labeled, validation or test sample.
    """
    given = given or GivenSplits()
    indices = np.random.default_rng((data.split_seed, 0)).permutation(len(labels)).astype(np.int64)
    indices = _without(indices, _left_out(test_indices, given))
    fixed = given.test if given.test is not None else test_indices
    reserved = _joined(fixed, given.val, given.labeled, given.unlabeled)
    known = indices[labels[indices] != UNLABELED]
    if fixed is None:
        free = _without(known, reserved)
        test, _ = _take(free, labels, _proportional_counts(labels[free], round(data.test_fraction * len(known))))
    else:
        test = fixed
    rest = _without(known, test)
    val, train = _validation(rest, labels, data, val_indices, given, len(_without(known, fixed)))
    labeled = _labeled(train, labels, data, seed, given, choose)
    unlabeled = _unlabeled(_without(indices, _joined(test, val)), labeled, data, given)
    splits = Splits(*(np.sort(part) for part in (labeled, unlabeled, val, test)))
    names = ["val"] if choose else ["labeled", "val"]
    names += [] if fixed is not None or not data.test_fraction else ["test"]
    _check_own_val(val_indices, np.unique(labels[known]), labels, given)
    _check_every_class(splits, np.unique(labels[known]), labels, data, names, given)
    return splits


def _split_domains(dataset: Dataset, data: DataConfig, seed: int, given: GivenSplits, choose: _Choice | None) -> Splits:
    """Splits two domains: labeled and validation samples of the source, unlabeled and test samples of the target, whose
    labels are not read, only whether they are known.
    """
    assert dataset.target_indices is not None
    labels = dataset.labels
    target = np.random.default_rng((data.split_seed, 2)).permutation(dataset.target_indices)
    target = _without(target, _left_out(dataset.test_indices, given))
    test = _target_test(dataset, target, data, given)
    unlabeled = target if data.transductive else _without(target, test)
    if given.unlabeled is not None:
        unlabeled = given.unlabeled if data.transductive else _without(given.unlabeled, test)
    known = (labels[target] != UNLABELED).any()
    if not len(unlabeled) or (not len(test) and data.test_fraction and known):
        got = f"{len(test)} test and {len(unlabeled)} unlabeled samples of {len(target)}"
        raise StudyError(f"the target must have samples of both kinds for data.test_fraction, got {got}; change it")
    indices = np.random.default_rng((data.split_seed, 0)).permutation(
        np.setdiff1d(np.arange(len(labels)), dataset.target_indices)
    )
    source = indices[labels[indices] != UNLABELED]
    val, train = _validation(source, labels, data, dataset.val_indices, given, len(source))
    labeled = _labeled(train, labels, data, seed, given, choose)
    splits = Splits(*(np.sort(part) for part in (labeled, unlabeled, val, test)))
    _check_own_val(dataset.val_indices, np.unique(labels[source]), labels, given)
    _check_every_class(
        splits, np.unique(labels[source]), labels, data, ["val"] if choose else ["labeled", "val"], given
    )
    return splits


def _target_test(dataset: Dataset, target: Indices, data: DataConfig, given: GivenSplits) -> Indices:
    """Returns the test samples of a target domain: those given, those of its own, or a fraction of those with a label,
    all of them if training is transductive.
    """
    fixed = given.test if given.test is not None else dataset.test_indices
    if fixed is not None and not data.transductive:
        return fixed
    known = target[dataset.labels[target] != UNLABELED]
    if data.transductive:
        return known if fixed is None else fixed
    free = _without(known, given.unlabeled) if given.unlabeled is not None else known
    return free[: round(data.test_fraction * len(known))]


def _validation(
    rest: Indices, labels: Indices, data: DataConfig, own: Indices | None, given: GivenSplits, num_known: int
) -> tuple[Indices, Indices]:
    """Returns the validation samples and the others of `rest`, which have a label and are no test samples.

    Args:
        rest: the samples, in random order.
        labels: (N,) class indices.
        data: the number of validation samples, or their fraction of `num_known`.
        own: validation samples of the data set's own, or None.
        given: splits that are given.
        num_known: number of samples with a label, without those of a given test set.
    """
    fixed = given.val if given.val is not None else own
    if fixed is not None:
        return fixed, _without(rest, fixed)
    free = _without(rest, _joined(given.labeled, given.unlabeled))
    num_val = data.num_val or round(data.val_fraction * num_known)
    if num_val >= len(free) + (given.labeled is not None):
        raise StudyError(
            f"samples with a label must be left to train on for data.{_val_field(data)}, got {num_val} of {len(free)} "
            f"samples with a label; lower it{_or_list_val(data, given)}"
        )
    val, _ = _take(free, labels, _proportional_counts(labels[free], num_val))
    return val, _without(rest, val)


def _or_list_val(data: DataConfig, given: GivenSplits) -> str:
    """Returns what else helps where a file lists so many samples that none is left for validation."""
    listed = given.labeled is not None or given.unlabeled is not None
    return f", or list `val` in data.splits={data.splits}, or list fewer as unlabeled" if listed else ""


def _left_out(test_indices: Indices | None, given: GivenSplits) -> Indices:
    """Returns the test samples of the data set's own that are not listed where a file gives the test split."""
    if test_indices is None or given.test is None:
        return _NONE
    return _without(test_indices, _joined(given.labeled, given.unlabeled, given.val, given.test))


def _labeled(
    train: Indices, labels: Indices, data: DataConfig, seed: int, given: GivenSplits, choose: _Choice | None
) -> Indices:
    """Returns the labeled samples: those given, or as many of the training samples with a known label as asked for."""
    if given.labeled is not None:
        return given.labeled
    if choose:
        return choose(train)
    order = np.random.default_rng((data.split_seed, 1, seed)).permutation(np.sort(train))
    if data.label_ratio is None and data.labels_per_class is None:
        return order
    return _take(order, labels, _labeled_counts(labels[order], data))[0]


def _unlabeled(training: Indices, labeled: Indices, data: DataConfig, given: GivenSplits) -> Indices:
    """Returns the unlabeled samples among those that are neither test nor validation samples."""
    pool = training if given.unlabeled is None else training[np.isin(training, given.unlabeled)]
    if data.labeled_in_unlabeled:
        return np.union1d(pool, labeled)
    return _without(pool, labeled)


def _joined(*parts: Indices | None) -> Indices:
    """Returns the samples of these splits, leaving out those that are not given."""
    return np.concatenate([_NONE, *(part for part in parts if part is not None)])


def _without(indices: Indices, others: Indices | None) -> Indices:
    """Returns the samples that are not among the others, in their order."""
    return indices if others is None or not len(others) else indices[~np.isin(indices, others)]


def _labeled_counts(labels: npt.NDArray[np.int64], data: DataConfig) -> dict[int, int]:
    if data.labels_per_class is not None:
        return {int(k): data.labels_per_class for k in np.unique(labels)}
    assert data.label_ratio is not None
    return _nested_counts(labels, round(data.label_ratio * len(labels)))


def _nested_counts(labels: npt.NDArray[np.int64], num_total: int) -> dict[int, int]:
    """Divides `num_total` samples among the classes so that no class gets fewer for a larger number (Sainte-Laguë)."""
    classes, counts = np.unique(labels, return_counts=True)
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    owner, size = np.repeat(classes, counts), np.repeat(counts, counts)
    first = np.lexsort((owner, size, place))[:num_total]
    return {int(k): int((owner[first] == k).sum()) for k in classes}


def _proportional_counts(labels: npt.NDArray[np.int64], num_total: int) -> dict[int, int]:
    """Divides `num_total` samples among the classes in proportion: largest remainders, small classes first in a tie."""
    if num_total == 0 or not len(labels):
        return {}
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * (num_total / len(labels))
    taken = np.floor(exact).astype(int)
    order = np.lexsort((counts, -(exact - taken)))
    taken[order[: num_total - taken.sum()]] += 1
    return dict(zip(classes.tolist(), taken.tolist(), strict=True))


def _take(indices: Indices, labels: npt.NDArray[np.int64], counts: dict[int, int]) -> tuple[Indices, Indices]:
    """Returns the first samples of each class up to its count, and the others in their order."""
    taken = np.zeros(len(indices), dtype=bool)
    for label, count in counts.items():
        taken[np.flatnonzero(labels[indices] == label)[:count]] = True
    return indices[taken], indices[~taken]


def _check_every_class(
    splits: Splits, classes: Indices, labels: Indices, data: DataConfig, names: list[str], given: GivenSplits
) -> None:
    """Checks that each of these classes has a sample in the splits of these names, whose labels are known."""
    fields = {"labeled": _labeled_field(data), "val": _val_field(data), "test": "test_fraction"}
    for name in names:
        indices, field = getattr(splits, name), fields[name]
        lacking = np.setdiff1d(classes, labels[indices])
        if not len(lacking):
            continue
        found = f"{len(indices)} {name} samples for {len(classes)} classes and none for class {lacking[0]}"
        if getattr(given, name) is not None:
            raise StudyError(
                f"every class must have a {name} sample in data.splits={data.splits}, got {found}; add one to that list"
            )
        remedy = "lower it" if name == "labeled" and field == fields["val"] else "raise it"
        if field == "labels_per_class":  # of which any number asks for one
            remedy = f"lower data.{fields['val']} or data.test_fraction, which leave none to train on"
        raise StudyError(
            f"every class must have a {name} sample for data.{field}, got {field}={getattr(data, field)}, which gives "
            f"{found}; {remedy}, or add samples of that class{_other_remedy(name, data)}"
        )
    if (
        "labeled" in names
        and data.labels_per_class is not None
        and len(splits.labeled) < data.labels_per_class * len(classes)
    ):
        counts = np.bincount(labels[splits.labeled])[classes]
        raise StudyError(
            f"every class must have data.labels_per_class training samples, got labels_per_class="
            f"{data.labels_per_class}, with only {counts.min()} in class {classes[counts.argmin()]}; lower it"
        )


def _check_own_val(own: Indices | None, classes: Indices, labels: Indices, given: GivenSplits) -> None:
    """Checks that each of these classes has a sample among the validation samples that the data set itself keeps."""
    lacking = np.setdiff1d(classes, labels[_NONE if own is None else own])
    if own is not None and given.val is None and len(lacking):
        raise StudyError(
            f"every class must have a sample among the validation samples of the data set's own, got {len(own)} for "
            f"{len(classes)} classes and none for class {lacking[0]}; add one, or move all of them to the training "
            "samples, of which data.val_fraction then takes some"
        )


def _other_remedy(name: str, data: DataConfig) -> str:
    """Returns what else helps where few labels are known."""
    if name == "test":
        return ", or give a test set of its own (data.test), or none (data.test_fraction=0)"
    if name == "val" and data.num_val is None:
        return f", or set data.num_val to one or two a class (val_fraction={data.val_fraction})"
    return ""


def _no_unlabeled(data: DataConfig) -> str:
    """Returns the error of a configuration whose steps draw unlabeled samples and that has none."""
    field = _labeled_field(data) if data.label_ratio or data.labels_per_class else "label_ratio"
    return (
        f"at least one unlabeled sample must be left for data.{field}, got {field}={getattr(data, field)} and no "
        "sample without a label; lower it, give data.unlabeled, or, to train on labels alone, set "
        "data.labeled_in_unlabeled=true or training.unlabeled_batch_size=0"
    )


def _labeled_field(data: DataConfig) -> str:
    """Returns the field that decides the number of labeled samples; if both are unset, validation decides."""
    if data.labels_per_class is not None:
        return "labels_per_class"
    return "label_ratio" if data.label_ratio is not None else _val_field(data)


def _val_field(data: DataConfig) -> str:
    return "num_val" if data.num_val is not None else "val_fraction"
