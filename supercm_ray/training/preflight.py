"""What of a study can be checked only with the registries or the data at hand, and still before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from supercm_ray.algorithms import find_algorithm
from supercm_ray.config import Config, Leaf, Study, import_plugins
from supercm_ray.data import Dataset, find_dataset, load_dataset, split_dataset
from supercm_ray.errors import StudyError
from supercm_ray.models import build_classifier, find_backbone

_HOSTS_OF_VIEWS = ("pi_model", "mean_teacher", "fixmatch")


def check_names(study: Study) -> None:
    """Imports the plug-ins of a study and looks up every data set, algorithm and backbone that it names.

    Raises:
        StudyError: for a name that is not registered, and a plug-in that cannot be imported.
    """
    try:
        import_plugins(study.base)
        for config in _variants(study, ("algorithm.", "model.")):
            find_dataset(config.data.name)
            if config.data.target is not None:
                find_dataset(config.data.target.name)
            find_algorithm(config.algorithm.name)
            find_backbone(config.model.name)
    except StudyError as error:
        raise StudyError(f"{error} (in {study.source})") from error


def load_checked(study: Study) -> Dataset:
    """The data set of a study, after its splits were made once at every end of the space, with and without the
    baseline.

    Raises:
        StudyError: for an unknown name, and where a class would lack a sample somewhere.
    """
    check_names(study)
    try:
        dataset = load_dataset(study.base.data)
        for config in _variants(study, ("model.", "algorithm.name")):
            _try_model(config, dataset)
            _check_views(config, dataset)
        for config in _variants(study, ("data.",)):
            split_dataset(dataset, config)
    except StudyError as error:
        raise StudyError(f"{error} (in {study.source})") from error
    return dataset


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
    """Sees that hosts which compare two views of a sample get two."""
    alike = dataset.shape[1:] == (1, 1) and not config.data.noise_std
    if alike and config.algorithm.name in _HOSTS_OF_VIEWS:
        raise StudyError(
            f"`data.noise_std > 0` must hold for algorithm.name={config.algorithm.name} on vectors, all of whose views "
            "are alike without noise, got 0; set it, or take another host"
        )


def _variants(study: Study, prefixes: tuple[str, ...]) -> Iterator[Config]:
    """The base and each end of the searched paths with these prefixes, each also with the baseline's overrides."""
    ends: list[Mapping[str, Leaf]] = [{}]
    for path, distribution in study.space.items():
        if path.startswith(prefixes):
            ends += [{path: value} for value in distribution.ends().values()]
    for end in ends:
        yield study.base.replace(end)
        yield study.base.replace({**end, **study.baseline})
