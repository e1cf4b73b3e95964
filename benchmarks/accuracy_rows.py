"""The rows of the accuracy table, each with two studies that differ only in the clustering loss.

A row is named suite/algorithm/labels, such as `digits/vat/4`, or suite/algorithm if all labels of the source are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from supercm_ray.config import Study

WITHOUT, WITH = "without", "with"
ARMS = (WITHOUT, WITH)

SOURCE_LABELS, TARGET_LABELS = "val/accuracy", "target/information_maximisation"
"""The metrics that parameters are chosen by: accuracy on validation labels, which are counted; with a target domain, no
label of which may be used, information maximisation. The latter was chosen before any run, the same for both arms: the
presets use it, predicting one class for every sample does not raise it as it lowers the entropy, no arm trains it as
the module trains the distortion, and accuracy on the source is at its ceiling for most parameters. Nothing that merely
sharpens predictions, such as the temperature, is searched."""


@dataclass(frozen=True)
class Suite:
    """What the rows of a data set share.

    Attributes:
        data: `base.data`; each row sets its own `labels_per_class`.
        model, algorithm, training: sections of `base`.
        num_seeds: number of fresh seeds of the chosen parameters.
        num_trials: number of trials in the search of each arm.
        gpus_per_trial: 0 for the CPU.
    """

    name: str
    title: str
    data: dict[str, Any]
    model: dict[str, Any]
    algorithm: dict[str, Any]
    training: dict[str, Any]
    num_seeds: int
    num_trials: int = 6
    gpus_per_trial: int = 0


@dataclass(frozen=True)
class Row:
    """An algorithm on a data set with a number of labels per class, or with all labels of the source (None)."""

    suite: Suite
    algorithm: str
    labels_per_class: int | None = None

    @property
    def key(self) -> str:
        """The name of the row on the command line and in the JSON."""
        labels = "" if self.labels_per_class is None else f"/{self.labels_per_class}"
        return f"{self.suite.name}/{self.algorithm}{labels}"

    def study(self, arm: str) -> Study:
        """Returns the study of an arm: the same space and budget in both, except for the weight of the
        clustering loss.
        """
        return Study.model_validate_json(json.dumps(self._tree(arm)))

    def _tree(self, arm: str) -> dict[str, Any]:
        suite = self.suite
        labels = {} if self.labels_per_class is None else {"labels_per_class": self.labels_per_class}
        section = {**suite.algorithm, "name": self.algorithm, "clustering_weight": float(arm == WITH)}
        space, point = self._space(arm)
        return {
            "name": f"{self.key}/{arm}".replace("/", "-"),
            "base": {
                "data": {**suite.data, **labels},
                "model": suite.model,
                "algorithm": section,
                "training": suite.training,
            },
            "space": space,
            "enqueued_trials": [point],
            "objective": {
                "metric": TARGET_LABELS if "target" in suite.data else SOURCE_LABELS,
                "direction": "maximize",
            },
            "budget": {
                "num_trials": suite.num_trials,
                "max_concurrent_trials": 1,
                "gpus_per_worker": suite.gpus_per_trial,
            },
            "sampler": {"name": "tpe", "options": {"num_startup_trials": 4}},
            "scheduler": {
                "name": "asha",
                "options": {"grace_period": suite.training["num_epochs"] // 3, "reduction_factor": 3},
            },
            "num_seeds": suite.num_seeds,
        }

    def _space(self, arm: str) -> tuple[dict[str, Any], dict[str, float]]:
        """Returns the search space, and the parameters of the first trial."""
        space = {"training.learning_rate": _log_range(1e-3, 1e-2)}
        point = {"training.learning_rate": 3e-3}
        if self.algorithm != "supervised":
            space["algorithm.consistency_weight"] = _log_range(0.1, 3.0)
            point["algorithm.consistency_weight"] = 1.0
        if arm == WITH:
            space["algorithm.clustering_weight"] = _log_range(0.1, 5.0)
            point["algorithm.clustering_weight"] = 1.0
        return space, point


def rows() -> Iterator[Row]:
    """Returns every row of the table, the fastest first; `cifar10` needs a GPU."""
    for suite in _office_pairs():
        for algorithm in ("supervised", "dann", "cdan", "mcc"):
            yield Row(suite, algorithm)
    for labels in (1, 2, 4, 10):
        for algorithm in ("supervised", "vat", "fixmatch"):
            yield Row(_DIGITS, algorithm, labels)
    for algorithm in ("pi_model", "mean_teacher", "pseudo_label"):
        yield Row(_DIGITS, algorithm, 4)
    for suite in _DIGIT_DOMAINS:
        for algorithm in ("supervised", "dann"):
            yield Row(suite, algorithm)
    for suite in _28_BY_28:
        for labels in (1, 10):
            for algorithm in ("supervised", "fixmatch"):
                yield Row(suite, algorithm, labels)
    for labels in (4, 25, 400):
        for algorithm in ("supervised", "vat", "fixmatch"):
            yield Row(_CIFAR10, algorithm, labels)


def _log_range(low: float, high: float) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": True}


def _short(steps_per_epoch: int, **others: Any) -> dict[str, Any]:
    """Returns a training section with three epochs, 32 labeled and 32 unlabeled samples per step unless given
    otherwise.
    """
    batches = {"labeled_batch_size": 32, "unlabeled_batch_size": 32}
    epochs = {"num_epochs": 3, "steps_per_epoch": steps_per_epoch, "checkpoint_interval_epochs": 3}
    return {**epochs, **batches, "device": "cpu", **others}


_OWN_FEATURES = {"centroid_rule": "ema", "centroid_source": "batch"}
_BALANCED = {**_OWN_FEATURES, "balance_alpha": 1.03}
_FOUR_LAYERS = {"name": "small_cnn", "options": {"channels": [16, 32, 32, 32]}}

_DIGITS = Suite(
    name="digits",
    title="digits",
    data={"name": "digits"},
    model={"name": "small_cnn", "options": {"channels": [16, 32, 32]}},
    algorithm=_BALANCED,
    training=_short(75),
    num_seeds=5,
)

_28_BY_28 = tuple(
    Suite(
        name=name,
        title=title,
        data={"name": name, "num_val": 500, "shift_pixels": 2},
        model=_FOUR_LAYERS,
        algorithm=_BALANCED,
        training=_short(400, labeled_batch_size=16),
        num_seeds=3,
    )
    for name, title in (("mnist", "MNIST"), ("fashion_mnist", "Fashion-MNIST"))
)

_DIGIT_DOMAINS = tuple(
    Suite(
        name=f"{source}-{target}",
        title=f"{source.upper()} → {target.upper()}",
        data={"name": source, "num_val": 500, "shift_pixels": 2, "target": {"name": target}},
        model=_FOUR_LAYERS,
        algorithm=_BALANCED,
        training=_short(400),
        num_seeds=3,
    )
    for source, target in (("usps", "mnist"), ("mnist", "usps"))
)


def _office_pairs() -> Iterator[Suite]:
    for source, target in permutations(("amazon", "webcam", "dslr"), 2):
        yield Suite(
            name=f"office-{source}-{target}",
            title=f"Office-Caltech10 features, {source} → {target}",
            data={**_office(source), "target": _office(target)},
            model={"name": "mlp", "options": {"channels": [128]}},
            algorithm=_OWN_FEATURES,
            training=_short(75),
            num_seeds=5,
        )


def _office(domain: str) -> dict[str, Any]:
    file = f"OfficeCaltech10/features/GoogleNet1024_{domain}.mat"
    keys = {"input_key": "fts", "label_key": "labels", "first_label": 1, "l2_normalise": True}
    return {"name": "arrays", "options": {"file": file, **keys}}


_CIFAR10 = Suite(
    name="cifar10",
    title="CIFAR-10, JPEG q75",
    data={
        "name": "arrays",
        "options": {
            "file": "CIFAR10/cifar10_jpegq75_train.npz",
            "test_file": "CIFAR10/cifar10_jpegq75_test.npz",
            "input_key": "jpeg",
            "offsets_key": "offsets",
        },
        "num_val": 500,
        "shift_pixels": 2,
        "flip": True,
    },
    model={"name": "wrn_28_2"},
    algorithm=_OWN_FEATURES,
    training={
        "num_epochs": 9,
        "steps_per_epoch": 1000,
        "labeled_batch_size": 64,
        "unlabeled_batch_size": 128,
        "device": "cuda",
    },
    num_seeds=3,
    gpus_per_trial=1,
)
