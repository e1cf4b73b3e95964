"""Data sets that torchvision reads, with their own test samples, from `data.root` or SUPERCM_DATA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from supercm_ray.config import OptionsModel, PlaceConfig
from supercm_ray.data.dataset import DATASETS, Dataset, channel_statistics
from supercm_ray.data.folders import data_root
from supercm_ray.data.reasons import reason
from supercm_ray.errors import StudyError


class DownloadOptions(OptionsModel):
    """Options of torchvision's data sets."""

    inherited: ClassVar[frozenset[str]] = frozenset({"download"})

    download: bool = False
    """Whether to download files that are missing in `root`."""


class Stl10Options(DownloadOptions):
    """Options of `stl10`."""

    split: Literal["train", "train+unlabeled", "unlabeled"] = "train"
    """The samples: `train` is 5000 labeled ones, with the test samples, `train+unlabeled` also the 100,000 that nobody
    labeled, and `unlabeled` those alone, without test samples."""


class SvhnOptions(DownloadOptions):
    """Options of `svhn`."""

    split: Literal["train", "extra"] = "train"
    """The samples: `train` is the training samples, with the test samples, and `extra` the 531,131 further ones,
    without test samples, as a source of unlabeled ones."""


class _Part(Protocol):
    """Training or test samples of a data set of torchvision."""

    classes: list[str]
    data: npt.NDArray[np.uint8]
    targets: npt.ArrayLike
    labels: npt.ArrayLike
    """The labels of SVHN, which other data sets call `targets`."""


@dataclass(frozen=True)
class _Source:
    """Description of a data set of torchvision: the name of its class, its folder below the root, the arguments that
    select its parts (a split that is chosen by an option replaces that of the first part), and its citation; for
    digits, that the classes are named "0" to "9".
    """

    cls: str
    folder: str
    parts: tuple[Mapping[str, object], Mapping[str, object]]
    citation: str
    of_digits: bool = False

    def __call__(self, data: PlaceConfig, options: DownloadOptions) -> Dataset:
        split = getattr(options, "split", None)
        parts = self.parts if split is None else ({**self.parts[0], "split": split}, self.parts[1])
        has_test = split not in ("unlabeled", "extra")
        train, *test = (self._read(data, part, download=options.download) for part in parts[: 1 + has_test])
        images = np.concatenate([_images(part) for part in (train, *test)])
        labels = np.concatenate([_labels(part) for part in (train, *test)])
        mean, std = channel_statistics(_images(train))
        because = "" if (labels >= 0).any() else f"the samples of {data.name} with split={split} have none"
        return Dataset(
            name=data.name,
            images=images,
            labels=labels,
            class_names=_DIGITS if self.of_digits else tuple(train.classes),
            mean=mean,
            std=std,
            citation=self.citation,
            test_indices=np.arange(len(_images(train)), len(images)) if has_test else None,
            unlabeled_because=because,
        )

    def _read(self, data: PlaceConfig, part: Mapping[str, object], *, download: bool) -> _Part:
        import torchvision.datasets  # seconds of import, which only these sets need

        folder = data_root(data, may_be_missing=download) / self.folder
        try:
            found: _Part = getattr(torchvision.datasets, self.cls)(root=str(folder), download=download, **part)
            _check_samples(_images(found), _labels(found))
        except Exception as error:  # damaged files let out errors of torchvision, numpy, bz2, struct and assert alike
            raise StudyError(
                f"`data.name: {data.name}` must be found whole in {folder}, got {reason(error)!r}; put its files there "
                "in place of damaged ones, or remove these and set data.options.download=true where there is a network"
            ) from error
        return found


_DIGITS = tuple("0123456789")
_TRAIN_TEST = ({"train": True}, {"train": False})
_SPLITS = ({"split": "train"}, {"split": "test"})
_SOURCES = {
    "mnist": _Source("MNIST", "", _TRAIN_TEST, "LeCun, Bottou, Bengio, Haffner 1998", of_digits=True),
    "fashion_mnist": _Source("FashionMNIST", "", _TRAIN_TEST, "Xiao, Rasul, Vollgraf 2017 (arXiv 1708.07747)"),
    "usps": _Source("USPS", "USPS", _TRAIN_TEST, "Hull 1994", of_digits=True),
    "svhn": _Source("SVHN", "SVHN", _SPLITS, "Netzer et al. 2011", of_digits=True),
    "stl10": _Source("STL10", "", _SPLITS, "Coates, Ng, Lee 2011"),
    "cifar10": _Source("CIFAR10", "", _TRAIN_TEST, "Krizhevsky 2009"),
    "cifar100": _Source("CIFAR100", "", _TRAIN_TEST, "Krizhevsky 2009"),
}
_OPTIONS = {"svhn": SvhnOptions, "stl10": Stl10Options}
for _name, _source in _SOURCES.items():
    DATASETS.add(_name, _source, options=_OPTIONS.get(_name, DownloadOptions))


def _check_samples(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    classes = np.unique(labels[labels >= 0]).tolist()
    is_broken = len(classes) == 1 or classes != list(range(len(classes)))
    if not len(images) or len(images) != len(labels) or is_broken or labels.min() < -1:
        raise ValueError(f"{len(images)} images and {len(labels)} labels of {len(classes)} classes")


def _images(part: _Part) -> npt.NDArray[np.uint8]:
    """Converts torchvision's (N, H, W), (N, H, W, C) or, for SVHN, (N, C, H, W) to (N, C, H, W)."""
    images = np.asarray(part.data, dtype=np.uint8)
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _labels(part: _Part) -> npt.NDArray[np.int64]:
    return np.asarray(part.targets if hasattr(part, "targets") else part.labels, dtype=np.int64)
