"""The data sets that `embed` computes features of: those of a study file, a folder of images, or a file of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from supercm_ray.config import Config, DataConfig, PlaceConfig, load_study
from supercm_ray.data import DATASETS, Dataset
from supercm_ray.data.loading import further_sources
from supercm_ray.errors import StudyError
from supercm_ray.inference.frozen import BackboneChoice
from supercm_ray.inference.inputs import log_notes


def study_of(path: Path) -> Config | None:
    """Returns the configuration of a study file, or None for a path of another kind.

    Raises:
        StudyError: for a study file with an error.
    """
    return load_study(path).base if path.suffix in (".yaml", ".yml") else None


def read_sources(
    path: Path, config: Config | None, choice: BackboneChoice
) -> Iterator[tuple[str, Dataset, int | None]]:
    """Yields each data set, after its key in the data section (empty for the data set itself), with the side in pixels
    that its images are scaled to, or None.

    Raises:
        StudyError: for a path that cannot be read.
    """
    for key, place in _places(path) if config is None else _parts(config.data):
        side = choice.side(getattr(place.options, "image_size", None))
        yield key, _load(place, side), side


def _parts(data: DataConfig) -> Iterator[tuple[str, PlaceConfig]]:
    """Yields the data set and its further sources."""
    yield "", data
    yield from further_sources(data).items()


def _places(path: Path) -> Iterator[tuple[str, PlaceConfig]]:
    """Yields how a folder of images or a file of arrays is read."""
    if path.is_dir():
        given: dict[str, object] = {"name": "image_folder", "root": str(path)}
    elif path.is_file():
        given = {"name": "arrays", "root": str(path.parent), "options": {"file": path.name}}
    else:
        raise StudyError(
            f"the data must be a study file, a folder of images or a file of arrays, got {str(path)!r}, which does not "
            "exist; correct it"
        )
    yield "", PlaceConfig.model_validate(given)


def _load(place: PlaceConfig, side: int | None) -> Dataset:
    if place.name == "image_folder" and side is None:
        raise StudyError(
            f"--image-size must be given for images in {place.root}, got nothing; give the side in pixels that all get"
        )
    if "image_size" in type(place.options).model_fields:
        place = place.model_copy(update={"options": place.options.model_copy(update={"image_size": side})})
    dataset = DATASETS.find(place.name).make(place, place.options)
    log_notes(dataset)
    return dataset
