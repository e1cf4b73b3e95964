"""Loads the sources that a configuration names and joins them: the data set itself, then those of the target domain,
further unlabeled samples and the test samples.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from supercm_ray.config import FREE_TO_CHANGE, DataConfig, OptionsModel, PlaceConfig
from supercm_ray.data.array_inputs import with_columns
from supercm_ray.data.classes import check_classes, check_kept_labels
from supercm_ray.data.dataset import DATASETS, UNLABELED, Dataset
from supercm_ray.data.decoding import decode_alike
from supercm_ray.data.images import JoinedImages, Pixels, SelectedImages, StreamedImages, in_shape
from supercm_ray.errors import StudyError, nearest

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.int64]


def load_dataset(data: DataConfig) -> Dataset:
    """Loads the data set that a configuration names, with its further sources, as one.

    Raises:
        StudyError: for missing or damaged files, values that are no numbers, and sources that do not fit together.
    """
    joined = _load(data)
    check_classes(joined)
    for key, place in further_sources(data).items():
        joined = _JOIN[key](joined, _load_beside(place, key, joined))
    check_kept_labels(joined)
    for note in joined.notes:
        logger.warning("%s", note)
    return joined


def _load(place: PlaceConfig) -> Dataset:
    return DATASETS.find(place.name).make(place, place.options)


def _load_beside(place: PlaceConfig, key: str, dataset: Dataset) -> Dataset:
    """Loads the further source with this key of the data section: the same columns of tables, and images decoded alike,
    unless its options say otherwise. Images of a target domain are decoded as they ask for themselves.
    """
    options = with_columns(place.options, dataset.columns)
    if key == "unlabeled" and hasattr(options, "without_labels"):
        options = options.without_labels()
    try:
        if key != "target":
            options = decode_alike(options, dataset.decoding)
        return _load(place.model_copy(update={"options": options}))
    except StudyError as error:
        raise StudyError(f"{error} (of data.{key})") from error


def further_sources(data: DataConfig) -> dict[str, PlaceConfig]:
    """Returns the configurations of the further sources of a data section by their keys (see `place_beside`)."""
    named = {key: getattr(data, key) for key in ("target", "unlabeled", "test")}
    return {key: place_beside(data, place, key) for key, place in named.items() if place is not None}


def place_beside(data: DataConfig, place: PlaceConfig, key: str) -> PlaceConfig:
    """Returns the configuration of a further source, with what it omits taken from the data set itself.

    Raises:
        StudyError: if both read the same samples.
    """
    taken = {
        name: getattr(data.options, name)
        for name in _inherited(place.options) & set(type(data.options).model_fields)
        if getattr(place.options, name) is None or getattr(place.options, name) is False
    }
    root = data.root if place.root is None else place.root
    place = place.model_copy(update={"root": root, "options": place.options.model_copy(update=taken)})
    if (place.name, place.root, _what_is_read(place)) == (data.name, data.root, _what_is_read(data)):
        raise StudyError(f"data.{key} must differ from the data set itself, got {data.name} for both; name another")
    return place


def _inherited(options: OptionsModel) -> frozenset[str]:
    """Returns the names of the options that a further source takes from the data set if it omits them."""
    names: frozenset[str] = getattr(options, "inherited", frozenset())
    return names


def _what_is_read(place: PlaceConfig) -> dict[str, object]:
    """Returns the options that decide which samples there are, without those that decide how they are read."""
    identifying: frozenset[str] = getattr(place.options, "identifying", frozenset())
    how = (_inherited(place.options) - identifying) | {
        path.split(".")[-1] for path in FREE_TO_CHANGE if path.startswith("data.")
    }
    return place.options.model_dump(exclude=set(how))


def join_domains(source: Dataset, target: Dataset) -> Dataset:
    """Joins both domains to one data set, source samples first, the target's images in the source's shape. Samples of
    the target may be unlabeled, all of them too.

    Raises:
        StudyError: if the target has other classes, or the shapes cannot be made alike.
    """
    if source.test_indices is not None:
        source = _kept(source, np.setdiff1d(np.arange(len(source.labels)), source.test_indices))
    num_unlabeled = int((source.labels == UNLABELED).sum())
    if num_unlabeled:
        left = f"{num_unlabeled} samples of the source without a label are not used: unlabeled samples are the target's"
        source = replace(source, notes=(*source.notes, left))
    first, num_target = len(source.labels), len(target.labels)
    labels = _labels_in(source, target, "target", lacking=bool((target.labels == UNLABELED).any()))
    joined = _append(_noting_numbers(source, target, "target"), target, labels, "target")
    return replace(
        joined,
        name=f"{source.name} to {target.name}",
        class_names=source.class_names if source.has_class_names or not target.class_names else target.class_names,
        has_class_names=source.has_class_names or (target.has_class_names and bool(target.class_names)),
        citation=f"{source.citation}; {target.citation}",
        test_indices=None if target.test_indices is None else target.test_indices + first,
        target_indices=np.arange(first, first + num_target),
        unlabeled_because="",
        columns=source.columns or target.columns,
        decoding=target.decoding,
    )


def _add_unlabeled(dataset: Dataset, more: Dataset) -> Dataset:
    """Appends samples without their labels and without its own test samples; with a target domain, to it."""
    own = more.test_indices
    if own is not None and len(own):
        more = _kept(more, np.setdiff1d(np.arange(len(more.labels)), own))
        more = replace(more, notes=(*more.notes, f"left out {len(own)} test samples of {more.name}"))
    labels = np.full(len(more.labels), UNLABELED, dtype=np.int64)
    return _of_target(_append(dataset, more, labels, "unlabeled"), len(more.labels))


def _add_test(dataset: Dataset, test: Dataset) -> Dataset:
    """Appends test samples, which take the place of the data set's own; only its own test samples of a source that
    keeps some.
    """
    own = test.test_indices
    if own is not None and len(own):
        left_out = len(test.labels) - len(own)
        note = f"left out {left_out} samples of {test.name} that are not its test samples"
        test = replace(_kept(test, own), notes=(*test.notes, note) if left_out else test.notes)
    unknown = np.flatnonzero(test.labels == UNLABELED)
    if len(unknown):
        because = test.unlabeled_because or f"{len(unknown)} have none, the first is sample {unknown[0]}"
        raise StudyError(f"every test sample must have a label for data.test, got {because}; label them, or omit them")
    if dataset.test_indices is not None:
        dataset = _kept(dataset, np.setdiff1d(np.arange(len(dataset.labels)), dataset.test_indices))
    first = len(dataset.labels)
    labels = _labels_in(dataset, test, "test", lacking=True)
    joined = _append(_noting_numbers(dataset, test, "test"), test, labels, "test")
    return replace(_of_target(joined, len(test.labels)), test_indices=np.arange(first, len(joined.labels)))


_JOIN = {"target": join_domains, "unlabeled": _add_unlabeled, "test": _add_test}
"""How a further source is joined to the data set, by its key."""


def _of_target(dataset: Dataset, num_last: int) -> Dataset:
    """Counts the last samples to the target domain, if there is one."""
    if dataset.target_indices is None:
        return dataset
    last = np.arange(len(dataset.labels) - num_last, len(dataset.labels))
    return replace(dataset, target_indices=np.concatenate([dataset.target_indices, last]))


def _append(dataset: Dataset, more: Dataset, labels: Labels, key: str) -> Dataset:
    """Appends the samples of a further source, with these labels."""
    names: tuple[str, ...] = ()
    if dataset.sample_names or more.sample_names:
        names = (*_sample_names(dataset), *_sample_names(more))
    return replace(
        dataset,
        images=_join_images(dataset.images, more.images, key),
        labels=np.concatenate([dataset.labels, labels]),
        sample_names=names,
        notes=(*dataset.notes, *(f"{note} (of data.{key})" for note in more.notes)),
    )


def _sample_names(dataset: Dataset) -> tuple[str, ...]:
    return dataset.sample_names or tuple(map(str, range(len(dataset.labels))))


def _kept(dataset: Dataset, kept: Labels) -> Dataset:
    """Returns the data set with these samples alone, in ascending order, and no test samples of its own."""
    place = np.full(len(dataset.labels), -1)
    place[kept] = np.arange(len(kept))
    names = dataset.sample_names

    def moved(indices: Labels | None) -> Labels | None:
        return None if indices is None else place[indices[np.isin(indices, kept)]]

    return replace(
        dataset,
        images=_images_of(dataset.images, kept),
        labels=dataset.labels[kept],
        sample_names=tuple(names[i] for i in kept) if names else (),
        test_indices=None,
        val_indices=moved(dataset.val_indices),
        target_indices=moved(dataset.target_indices),
    )


def _images_of(images: Pixels | StreamedImages, kept: Labels) -> Pixels | StreamedImages:
    """Returns the images of these samples, neither decoded nor, where they follow one another, copied."""
    if isinstance(images, StreamedImages):
        return SelectedImages(images, kept)
    follow = len(kept) and kept[-1] - kept[0] + 1 == len(kept)
    return images[kept[0] : kept[-1] + 1] if follow else images[kept]


def _labels_in(dataset: Dataset, more: Dataset, key: str, *, lacking: bool) -> Labels:
    """Returns the labels of a further source as indices into the classes of the data set: by name where both have
    names, by number otherwise.

    Args:
        dataset: the data set with all classes.
        more: the further source.
        key: its key in the data section.
        lacking: whether it may lack classes.

    Raises:
        StudyError: if it has classes that the data set has not, or lacks some and must not.
    """
    if not more.class_names:
        return more.labels
    names, others = dataset.class_names, more.class_names
    named = dataset.has_class_names and more.has_class_names
    missing = len(names) > len(others) if not named else bool(set(names) - set(others))
    extra = len(names) < len(others) if not named else bool(set(others) - set(names))
    if extra or (missing and not lacking):
        raise StudyError(_other_classes(dataset, more, key, named=named))
    if not named:
        return more.labels
    place = np.array([names.index(name) for name in others] + [UNLABELED], dtype=np.int64)
    return place[more.labels]


def _noting_numbers(dataset: Dataset, more: Dataset, key: str) -> Dataset:
    """Returns the data set with a note if classes are matched by number although one side names them."""
    named, plain = (dataset, more) if dataset.has_class_names else (more, dataset)
    names, numbers = named.class_names, plain.class_names
    if (
        plain.has_class_names
        or not named.has_class_names
        or not names
        or not numbers
        or names[: len(numbers)] == numbers
    ):
        return dataset
    pairs = ", ".join(f"{number} is {name}" for number, name in zip(numbers[:3], names, strict=False))
    note = f"classes of data.{key} are matched by their order, since {plain.name} has numbers for them: {pairs}"
    return replace(dataset, notes=(*dataset.notes, note))


def _other_classes(dataset: Dataset, more: Dataset, key: str, *, named: bool) -> str:
    """Returns the error of a source with other classes than the data set."""
    names, others = dataset.class_names, more.class_names
    got = f"{len(names)} in {dataset.name} and {len(others)} in {more.name}"
    if named:
        got += f" that differ in {', '.join(sorted(set(names) ^ set(others))[:5])}"
        strange = sorted(set(others) - set(names))
        hint = nearest(strange[0], names) if strange and len(names) <= 20 else ""
        got += f" ({hint})" if hint.startswith("did") else ""
    return (
        f"both must have the same classes for data.{key}, got {got}; name another source, or give both the same classes"
    )


def _join_images(first: Pixels | StreamedImages, more: Pixels | StreamedImages, key: str) -> Pixels | StreamedImages:
    shapes = (first.shape[1:], more.shape[1:])
    if first.dtype != more.dtype or (first.dtype != np.uint8 and shapes[0] != shapes[1]):
        raise StudyError(
            f"both sources must hold images, or vectors of one length, for data.{key}, got {shapes[1]} {more.dtype} "
            f"for {shapes[0]} {first.dtype}"
        )
    if isinstance(first, StreamedImages) or isinstance(more, StreamedImages):
        return JoinedImages(first, more)
    return np.concatenate([first, in_shape(more, shapes[0])])
