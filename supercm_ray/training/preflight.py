"""Checks of a study that need its data, made before anything is started."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from supercm_ray.config import Config, Leaf, Study
from supercm_ray.data import (
    Dataset,
    check_overlap,
    choice_notes,
    fingerprint,
    load_dataset,
    sample_digests,
    samples_digest,
    split_dataset,
    spread_notes,
)
from supercm_ray.errors import StudyError
from supercm_ray.models import build_classifier

logger = logging.getLogger(__name__)
_BATCHES = tuple(f"training.{name}" for name in ("labeled_batch_size", "unlabeled_batch_size", "sync_batch_norm"))


def load_checked(study: Study, *, all_seeds: bool = False) -> Dataset:
    """Loads the data set of a study and makes its splits at every end of the space, with and without the baseline. Its
    notes say which splits share samples, and are logged as warnings.

    Args:
        study: the study.
        all_seeds: whether files of splits, where there is one for each seed, are also read for the seeds of finalists.

    Raises:
        StudyError: for data that cannot be read, a network that does not take them, a class that would lack a sample
            somewhere, and test samples that are training samples.
    """
    try:
        dataset = load_dataset(study.base.data)
        for config in _variants(study, ("model.", "algorithm.name")):
            _try_model(config, dataset)
            _check_views(config, dataset)
        for config in _variants(study, ("data.",)):
            _check_augmentation(config, dataset)
            split_dataset(dataset, config)
        if all_seeds and "{seed}" in (study.base.data.splits or ""):
            _check_seeds(study, dataset)
        for config in _variants(study, ("model.", "algorithm.name", *_BATCHES)):
            _check_batch_norm(config, dataset, study.budget.worker_range[1])
        return _with_overlap_noted(dataset, study.base)
    except StudyError as error:
        raise StudyError(f"{error} (in {study.source})") from error


def _with_overlap_noted(dataset: Dataset, config: Config) -> Dataset:
    """Returns the data set with its fingerprint, and notes on samples that several splits share."""
    digests, splits = sample_digests(dataset), split_dataset(dataset, config)
    notes = (
        *check_overlap(dataset, splits, digests),
        *choice_notes(dataset, splits, config.data),
        *spread_notes(dataset, splits, config.data),
    )
    for note in notes:
        logger.warning("%s", note)
    return replace(
        dataset,
        notes=(*dataset.notes, *notes),
        fingerprint=fingerprint(dataset, digests, splits),
        samples_digest=samples_digest(dataset, digests),
    )


def _check_seeds(study: Study, dataset: Dataset) -> None:
    """Checks the splits of every seed of a study, whose test samples must be the same."""
    base = split_dataset(dataset, study.base)
    for seed in study.finalist_seeds:
        try:
            splits = split_dataset(dataset, study.base.replace({"seed": seed}))
        except StudyError as error:
            last = study.finalist_seeds[-1]
            raise StudyError(
                f"{error} (of seed {seed}: finalists have the seeds up to {last}, see num_seeds)"
            ) from error
        if not np.array_equal(splits.test, base.test):
            raise StudyError(
                f"all seeds must have the same test samples for data.splits={study.base.data.splits}, got others for "
                f"seed {seed} than for seed {study.base.seed}, some of which trials would train on; give data.test, or "
                "list the same `test` in each"
            )


def _try_model(config: Config, dataset: Dataset) -> None:
    """Builds the network and passes two blank images through it."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            build_classifier(config, dataset)(torch.zeros(2, *dataset.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"`model.name` must take inputs of the shape of the data, got {config.model.name} for {dataset.shape}: "
            f"{reason}"
        ) from error


def _check_views(config: Config, dataset: Dataset) -> None:
    """Checks that an algorithm that compares two views of a sample gets two different ones."""
    alike = dataset.shape[1:] == (1, 1) and not config.data.noise_std
    if alike and "two_views" in config.algorithm.requires:
        raise StudyError(
            f"`data.noise_std > 0` must hold for algorithm.name={config.algorithm.name} on vectors, all of whose views "
            "are alike without noise, got 0; set it, or take another algorithm"
        )


def _check_augmentation(config: Config, dataset: Dataset) -> None:
    """Checks that the augmentation takes images of this shape; vectors are left as they are."""
    data, (channels, *sides) = config.data, dataset.shape
    if sides == [1, 1]:
        return
    if data.shift_padding == "reflect" and data.shift_pixels >= min(sides):
        raise StudyError(
            f"`data.shift_pixels < {min(sides)}`, the image's shorter side, must hold for data.shift_padding=reflect, "
            f"got {data.shift_pixels}; lower it, or set data.shift_padding=zeros"
        )
    if data.strong.name == "randaugment" and "two_views" in config.algorithm.requires and channels not in (1, 3):
        raise StudyError(
            f"images of 1 or 3 channels must stand in the data for data.strong.name=randaugment, got {channels}; set "
            "data.strong.name=basic"
        )


def _check_batch_norm(config: Config, dataset: Dataset, num_workers: int) -> None:
    """Checks that no batch of a worker is one sample that BatchNorm has nothing to compare with."""
    training = config.training
    apart = 1 if training.sync_batch_norm else num_workers
    num_labeled, num_unlabeled = training.labeled_batch_size // apart, config.unlabeled_batch_size // apart
    alone = num_unlabeled if config.algorithm.requires else 0  # an algorithm may pass unlabeled samples by themselves
    if 1 not in (num_labeled + num_unlabeled, alone) or _takes_one_sample(config, dataset):
        return
    sizes = f"labeled_batch_size={training.labeled_batch_size}, unlabeled_batch_size={config.unlabeled_batch_size}"
    where, remedy = "", "take larger batches"
    if apart > 1:
        where = f" for {num_workers} workers without training.sync_batch_norm"
        remedy += " or fewer workers, or set training.sync_batch_norm=true"
    raise StudyError(
        f"BatchNorm in model.name={config.model.name} needs 2 samples or more in each pass of a worker, got 1 with "
        f"{sizes}{where}; {remedy}"
    )


def _takes_one_sample(config: Config, dataset: Dataset) -> bool:
    """Returns whether the network trains on a batch of one sample."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            build_classifier(config, dataset)(torch.zeros(1, *dataset.shape))
        except ValueError:  # which BatchNorm raises
            return False
    return True


def _variants(study: Study, prefixes: tuple[str, ...]) -> Iterator[Config]:
    """Returns the base, and a trial at each end of the searched paths with these prefixes, with and without the
    baseline's overrides. If names are searched, a trial has the first of each unless its end sets another.
    """
    names = {path: next(iter(found.ends().values())) for path, found in study.space.items() if path.endswith(".name")}
    ends: list[Mapping[str, Leaf]] = [{}]
    for path, distribution in study.space.items():
        if path.startswith(prefixes):
            ends += [{path: value} for value in distribution.ends().values()]
    yield study.base
    for end in ends:
        yield study.base.replace({**names, **end})
        yield study.base.replace({**names, **end, **study.baseline})
