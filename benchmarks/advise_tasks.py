"""Learning curves of real data for `benchmarks/advise.py`: accuracy by number of labels and seed.

Tasks for development and held-out tasks have no image in common. Labels are nested and stratified by seed, as they
are in a study.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits, load_svmlight_file
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Curve = dict[int, dict[int, float]]
"""Test accuracy by number of labels and seed."""

POOL, TEST, FEATURES = 8000, 2500, 50
FEW = (0.0125, 0.021, 0.035, 0.06, 0.1)
"""Fractions of the labels at which a curve is fitted."""
MANY = (0.147, 0.215, 0.316, 0.464, 0.681, 1.0)
"""Further fractions, at which the truth is measured."""


@dataclass(frozen=True)
class Samples:
    """Samples that may be labeled, and test samples."""

    train: Array
    labels: Labels
    test: Array
    test_labels: Labels

    @property
    def counts(self) -> tuple[list[int], list[int]]:
        """Numbers of labels at which the curve is fitted, and further ones; each has every class."""
        classes = len(np.unique(self.labels))
        few, many = ([round(part * len(self.labels)) for part in parts] for parts in (FEW, MANY))
        lowest = np.geomspace(classes, few[-1], len(few)).round().astype(int).tolist()
        return [max(pair) for pair in zip(few, lowest, strict=True)], many


def _idx(name: str) -> Samples:
    def read(file: str, offset: int) -> npt.NDArray[np.uint8]:
        return np.frombuffer(gzip.decompress((_root() / name / "raw" / file).read_bytes()), np.uint8, offset=offset)

    images = [read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784) / 255 for part in ("train", "t10k")]
    labels = [read(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64) for part in ("train", "t10k")]
    return Samples(images[0][:POOL], labels[0][:POOL], images[1][:TEST], labels[1][:TEST])


def _cifar10() -> Samples:
    found: list[npt.NDArray[np.float64]] = []
    for part, most in (("train", POOL), ("test", TEST)):
        arrays = np.load(_root() / "CIFAR10" / f"cifar10_jpegq75_{part}.npz")
        jpeg, ends = arrays["jpeg"], arrays["offsets"][: most + 1]
        files = [io.BytesIO(jpeg[a:b].tobytes()) for a, b in itertools.pairwise(ends)]
        found += [np.stack([np.asarray(Image.open(file)).ravel() for file in files]) / 255, arrays["labels"][:most]]
    return Samples(found[0], found[1].astype(np.int64), found[2], found[3].astype(np.int64))


def _usps() -> Samples:
    parts = []
    for file in ("usps.bz2", "usps.t.bz2"):
        with bz2.open(_root() / "USPS" / file) as opened:
            rows, labels = load_svmlight_file(opened, n_features=256)
        parts += [rows.toarray(), labels.astype(np.int64) - 1]
    return Samples(*parts)


def _office(file: str) -> Samples:
    arrays = scipy.io.loadmat(_root() / "OfficeCaltech10" / "features" / f"{file}.mat")
    rows = np.asarray(arrays["fts"], dtype=np.float64)
    return _divided(rows / np.linalg.norm(rows, axis=1, keepdims=True), arrays["labels"].ravel().astype(np.int64) - 1)


def _digits() -> Samples:
    arrays = load_digits()
    return _divided(arrays.data / 16, arrays.target.astype(np.int64))


def _divided(rows: Array, labels: Labels) -> Samples:
    """Holds out a third for the test."""
    order = np.random.default_rng(0).permutation(len(rows))
    test, train = np.split(order, [len(rows) // 3])
    return Samples(rows[train], labels[train], rows[test], labels[test])


def _root() -> Path:
    return Path(os.environ["SUPERCM_DATA"])


DATA: Mapping[str, Callable[[], Samples]] = {
    "mnist": lambda: _idx("MNIST"),
    "cifar10": _cifar10,
    "surf_amazon": lambda: _office("surf_amazon"),
    "fashion_mnist": lambda: _idx("FashionMNIST"),
    "usps": _usps,
    "digits": _digits,
    "googlenet_amazon": lambda: _office("GoogleNet1024_amazon"),
    "surf_caltech10": lambda: _office("surf_caltech10"),
}
DEVELOPMENT = ("mnist", "cifar10", "surf_amazon", "googlenet_amazon")
"""Data sets by which the method was chosen, by the last one after the others; the rest are held out."""
CLASSIFIERS: Mapping[str, Callable[[int], ClassifierMixin]] = {
    "logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)),
    "svm": lambda seed: SVC(C=10.0),
    "neighbours": lambda seed: KNeighborsClassifier(1),
    "forest": lambda seed: RandomForestClassifier(50, random_state=seed),
    "bayes": lambda seed: GaussianNB(var_smoothing=1e-2),
}


def reduced(samples: Samples) -> Samples:
    """Replaces features by their principal components, of all samples that may be labeled, which needs no label."""
    pca = PCA(min(FEATURES, samples.train.shape[1]), random_state=0).fit(samples.train)
    return Samples(pca.transform(samples.train), samples.labels, pca.transform(samples.test), samples.test_labels)


def accuracy(samples: Samples, classifier: str, num_labels: int, seed: int) -> float:
    """Trains on so many labels, which a smaller number of the same seed is among, and returns the test accuracy."""
    chosen = _order(samples.labels, seed)[:num_labels]
    model = CLASSIFIERS[classifier](seed).fit(samples.train[chosen], samples.labels[chosen])
    return float(np.mean(model.predict(samples.test) == samples.test_labels))


def _order(labels: Labels, seed: int) -> Labels:
    """Returns all samples in the order in which they are labeled, each class at its rate."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        ours = shuffled[labels[shuffled] == label]
        place[ours] = (np.arange(len(ours)) + 0.5) / len(ours)
    found: Labels = np.argsort(place, kind="stable")
    return found


def curve(samples: Samples, classifier: str, fitted_seeds: range, true_seeds: range) -> Curve:
    """Measures a task: few labels with all seeds, and many with those of the truth."""
    few, many = samples.counts
    seeds = {count: [*fitted_seeds, *true_seeds] for count in few} | {count: [*true_seeds] for count in many}
    return {
        count: {seed: round(accuracy(samples, classifier, count, seed), 5) for seed in ours}
        for count, ours in seeds.items()
    }
