"""The description of a trained model in `model.json`: all that is needed to use the model without its data set."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, ValidationError

from supercm_ray.config import Config, Frozen, PlaceConfig
from supercm_ray.data import Dataset
from supercm_ray.data.loading import further_sources
from supercm_ray.errors import StudyError, SuperCMError
from supercm_ray.records import write_atomically


class ModelCard(Frozen):
    """The description of a trained model."""

    format: Literal[1] = 1
    """Version of this description."""
    run: str
    """Key of the run that trained the model, after the name of its study."""
    config: Config
    """Configuration of that run; its `data` section tells how inputs are read."""
    shape: tuple[int, int, int]
    """Channels, height and width (C, H, W) of an image; a vector of D values is (D, 1, 1)."""
    dtype: Literal["uint8", "float32"]
    """Type of the inputs: pixels from 0 to 255, or values of vectors."""
    decoding: dict[str, float | str] = Field(default_factory=dict)
    """How the images of the data set were decoded, where the data decided it."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table that the samples of the data set were read from, in order."""
    class_names: tuple[str, ...]
    """Names of the classes, by class index."""
    versions: dict[str, str]
    """Versions of the packages that trained the model."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics of the last epoch, those of validation among them."""
    weights_sha256: str = ""
    """SHA-256 of the file of weights beside this description; empty in a run's folder."""

    @property
    def place(self) -> PlaceConfig:
        """How inputs are read: as the data set's, or as the target domain's if there is one."""
        return further_sources(self.config.data).get("target", self.config.data)

    @property
    def takes_vectors(self) -> bool:
        """Whether inputs are vectors."""
        return self.dtype == "float32"

    @property
    def l2_normalise(self) -> bool:
        """Whether each vector is divided by its Euclidean length."""
        return self.takes_vectors and bool(getattr(self.config.data.options, "l2_normalise", False))

    @property
    def described(self) -> str:
        """The inputs in words."""
        channels, height, width = self.shape
        if self.takes_vectors:
            return f"vectors (N, {channels}) of numbers"
        return f"uint8 images (N, {height}, {width}{f', {channels}' if channels > 1 else ''})"

    def blank_dataset(self) -> Dataset:
        """Returns a data set without samples, of this shape and these classes."""
        empty = (0, *self.shape)
        return Dataset(
            name=self.config.data.name,
            images=np.zeros(empty, dtype=np.float32) if self.takes_vectors else np.zeros(empty, dtype=np.uint8),
            labels=np.zeros(0, dtype=np.int64),
            class_names=self.class_names,
            mean=(0.0,),
            std=(1.0,),
        )


def describe(config: Config, dataset: Dataset, run: str) -> ModelCard:
    """Returns the description of the model that a run of this configuration trains on this data set."""
    return ModelCard(
        run=run,
        config=config,
        shape=dataset.shape,
        dtype="uint8" if dataset.images.dtype == np.uint8 else "float32",
        decoding=dict(dataset.decoding),
        columns=dataset.columns,
        class_names=dataset.class_names,
        versions={"supercm-ray": _version(), "torch": str(torch.__version__)},
    )


def _version() -> str:
    try:
        return version("supercm-ray")
    except PackageNotFoundError:
        return "unknown"


def write_card(path: Path, card: ModelCard) -> None:
    """Writes a description."""
    write_atomically(path, card.model_dump_json(indent=1) + "\n")


def read_card(path: Path) -> ModelCard:
    """Reads a description.

    Raises:
        StudyError: if there is none, or it is not one of this version.
    """
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StudyError(
            f"a model must be described in {path}, got no such file; train the run again with this version"
        ) from error
    except SuperCMError as error:  # such as a plug-in that cannot be imported here
        raise StudyError(f"{error} (in {path})") from error
    except (OSError, ValidationError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StudyError(
            f"{path} must describe a model of this version, got {reason}; take the version that wrote it"
        ) from error
