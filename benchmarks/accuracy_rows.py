"""The rows of the accuracy table: an arm on a data set with a number of labels.

A row is named suite/arm/labels, such as `digits/vat+supercm/4`, or suite/arm if all labels of the source are used. Each
has a study for every split of its data set into training, validation and test samples, with a search of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from supercm_ray.config import Study

SOURCE_LABELS, TARGET_LABELS = "val/accuracy", "target/information_maximisation"
"""The metrics that parameters are chosen by: accuracy on validation labels, which are counted; with a target domain, no
label of which may be used, information maximisation. The latter was chosen before any run, the same for all arms: the
presets use it, predicting one class for every sample does not raise it as it lowers the entropy, no arm trains it as
the module trains the distortion, and accuracy on the source is at its ceiling for most parameters. Nothing that merely
sharpens predictions, such as the temperature, is searched."""

Range = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        title: its name in the table.
        algorithm: its part of the section `algorithm`.
        space: what it searches besides the learning rate, by key of that section, with the default.
        against: name of the arm that differs from it in what is tested.
        fits_at_once: whether the head is fitted to the inputs as they are, without a learning rate.
    """

    title: str
    algorithm: dict[str, Any]
    space: dict[str, tuple[Range, float]] = field(default_factory=dict)
    against: str | None = None
    fits_at_once: bool = False


def _log_range(low: float, high: float) -> Range:
    return {"type": "float", "low": low, "high": high, "log": True}


_WITHOUT = {"clustering_weight": 0.0}
_OURS = {"centroid_rule": "ema", "centroid_source": "batch"}
_PUBLISHED = {"centroid_rule": "running_mean", "centroid_source": "eval_pass", "loss_reduction": "all_samples"}
_PRIOR = {"balance_alpha": 1.03}
_WEIGHT = {"clustering_weight": (_log_range(0.1, 10.0), 1.0)}
_PRIOR_WEIGHT = {"balance_weight": (_log_range(0.1, 10.0), 1.0)}
_CONSISTENCY = {"consistency_weight": (_log_range(0.3, 3.0), 1.0)}
_HOSTS: dict[str, tuple[str, dict[str, tuple[Range, float]]]] = {
    "pi_model": ("Π-model", {}),
    "mean_teacher": ("Mean Teacher", {}),
    "vat": ("VAT", {"options.epsilon": (_log_range(0.5, 6.0), 1.5)}),
    "pseudo_label": ("pseudo-labels", {}),
    "fixmatch": ("FixMatch", {}),
    "dann": ("DANN", {}),
    "cdan": ("CDAN", {}),
    "mcc": ("MCC", {}),
}
_AT_ONCE: dict[str, tuple[str, dict[str, tuple[Range, float]]]] = {
    "nearest_centroid": ("nearest centroid", {}),
    "nearest_neighbor": ("1-nearest-neighbour", {}),
    "logistic_regression": ("logistic regression", {"options.c": (_log_range(0.01, 100.0), 1.0)}),
    "label_propagation": ("label propagation", {"options.alpha": (_log_range(0.01, 0.9), 0.2)}),
    "gaussian_mixture": ("Gaussian mixture", {"options.unlabeled_weight": (_log_range(0.01, 1.0), 1.0)}),
}


_CHANGES: dict[str, tuple[str, dict[str, Any], dict[str, tuple[Range, float]]]] = {
    "own_samples": ("each loss over its own samples", {"loss_reduction": "own_samples"}, {}),
    "ema": ("EMA centroids", {"centroid_rule": "ema"}, {}),
    "batch": ("centroids of the step's features", {"centroid_source": "batch"}, {}),
    "prior": ("prior", _PRIOR, _PRIOR_WEIGHT),
}


def _arms() -> Iterator[tuple[str, Arm]]:
    supervised = {"name": "supervised"}
    yield "labels", Arm("labels alone", {**supervised, **_WITHOUT})
    yield "adabn", Arm("BatchNorm of both", {"name": "adabn", **_WITHOUT}, against="labels")
    yield "prior", Arm("prior alone", {**supervised, **_WITHOUT, **_PRIOR}, _PRIOR_WEIGHT, against="labels")
    yield "published", Arm("SuperCM as published", {**supervised, **_PUBLISHED}, _WEIGHT, against="labels")
    for key, (title, section, space) in _CHANGES.items():
        arm = Arm(f"published, but {title}", {**supervised, **_PUBLISHED, **section}, {**_WEIGHT, **space}, "published")
        yield f"published-{key}", arm
    yield "supercm", Arm("SuperCM", {**supervised, **_OURS}, _WEIGHT, against="labels")
    both = {**_WEIGHT, **_PRIOR_WEIGHT}
    yield "supercm+prior", Arm("SuperCM, prior", {**supervised, **_OURS, **_PRIOR}, both, against="prior")
    for name, (title, space) in _HOSTS.items():
        own = {**_CONSISTENCY, **space}
        yield name, Arm(title, {"name": name, **_WITHOUT}, own, against="labels")
        yield f"{name}+supercm", Arm(f"{title} + SuperCM", {"name": name, **_OURS}, {**own, **_WEIGHT}, against=name)
    for name, (title, space) in _AT_ONCE.items():
        yield name, Arm(title, {"name": name, **_WITHOUT}, space, "labels", fits_at_once=True)


ARMS = dict(_arms())
"""The arms by name. Of those with and without something, both search it, or neither has it."""


@dataclass(frozen=True)
class Suite:
    """What the rows of a data set share.

    Attributes:
        data: `base.data`; each row sets its own labels and each study its `split_seed`.
        model, training: sections of `base`.
        num_splits: number of splits of the data, each with a study.
        num_seeds: number of fresh seeds of the chosen parameters, in each split.
        num_trials: number of trials of each search.
        gpus_per_trial: 0 for the CPU.
    """

    name: str
    title: str
    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any]
    num_splits: int = 5
    num_seeds: int = 3
    num_trials: int = 6
    gpus_per_trial: int = 0

    @property
    def has_target(self) -> bool:
        """Whether there is a target domain."""
        return "target" in self.data


@dataclass(frozen=True)
class Row:
    """An arm on a data set with a number of labels per class, or with all labels of the source (None)."""

    suite: Suite
    arm: str
    labels_per_class: int | None = None

    @property
    def key(self) -> str:
        """The name of the row on the command line and in the JSON."""
        return self._key(self.arm)

    @property
    def against(self) -> str | None:
        """The name of the row that it is compared with."""
        other = ARMS[self.arm].against
        return None if other is None else self._key(other)

    @property
    def alone(self) -> str | None:
        """The name of the row of SuperCM on its own, for one that joins it to an algorithm or is fitted at once."""
        is_compared = self.arm.endswith("+supercm") or ARMS[self.arm].fits_at_once
        return self._key("supercm") if is_compared else None

    @property
    def fingerprint(self) -> str:
        """A digest of what the row's study files say, which a default added later does not change."""
        trees = [self._tree(split) for split in range(self.suite.num_splits)]
        return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()[:16]

    def study(self, split: int) -> Study:
        """Returns the study of a split, from 0."""
        return Study.model_validate_json(json.dumps(self._tree(split)))

    def _key(self, arm: str) -> str:
        labels = "" if self.labels_per_class is None else f"/{self.labels_per_class}"
        return f"{self.suite.name}/{arm}{labels}"

    def _tree(self, split: int) -> dict[str, Any]:
        suite, arm, labels = self.suite, ARMS[self.arm], {}
        if self.labels_per_class is not None:
            # As many labels are spent on validation as on training.
            num_val = suite.data.get("num_val") or self.labels_per_class * _NUM_CLASSES
            labels = {"labels_per_class": self.labels_per_class, "num_val": num_val}
        space, point = self._space(arm)
        training = {
            **suite.training,
            **({"num_epochs": 1, "checkpoint_interval_epochs": 1} if arm.fits_at_once else {}),
        }
        grace = {"grace_period": max(1, training["num_epochs"] // 3), "reduction_factor": 3}
        return {
            "name": f"{self.key}/{split}".replace("/", "-").replace("+", "-"),
            "base": {
                "data": {**suite.data, **labels, "split_seed": split},
                "model": {"name": "identity"} if arm.fits_at_once else suite.model,
                "algorithm": arm.algorithm,
                "training": training,
            },
            "space": space,
            "enqueued_trials": [point],
            "objective": {
                "metric": TARGET_LABELS if suite.has_target else SOURCE_LABELS,
                "direction": "maximize",
            },
            "budget": {
                "num_trials": suite.num_trials if arm.space or not arm.fits_at_once else 1,
                "max_concurrent_trials": 1,
                "gpus_per_worker": suite.gpus_per_trial,
            },
            "sampler": {"name": "tpe", "seed": self._seed(split), "options": {"num_startup_trials": 4}},
            "scheduler": {"name": "none"} if arm.fits_at_once else {"name": "asha", "options": grace},
            "num_seeds": suite.num_seeds,
            "tracking": "none",
        }

    def _seed(self, split: int) -> int:
        """Returns the seed of a search, its own for every row and split."""
        return int.from_bytes(hashlib.sha256(f"{self.key}/{split}".encode()).digest()[:4])

    def _space(self, arm: Arm) -> tuple[dict[str, Any], dict[str, float]]:
        """Returns the search space, and the parameters of the first trial, which are the defaults."""
        space: dict[str, Any] = {f"algorithm.{key}": wanted for key, (wanted, _) in arm.space.items()}
        point = {f"algorithm.{key}": default for key, (_, default) in arm.space.items()}
        if not arm.fits_at_once:
            space["training.learning_rate"], point["training.learning_rate"] = _log_range(1e-3, 1e-2), 3e-3
        elif not space:  # nothing to choose; a search needs a space
            space["algorithm.temperature"] = {"type": "categorical", "choices": [1.0]}
            point["algorithm.temperature"] = 1.0
        return space, point


def rows() -> Iterator[Row]:
    """Yields every row of the table, a data set after the other; `cifar10` needs a GPU."""
    for suites, labels, arms in _groups():
        yield from (Row(suite, arm, number) for suite in suites for number in labels for arm in arms)


def _groups() -> Iterator[tuple[Sequence[Suite], Sequence[int | None], Sequence[str]]]:
    """Yields data sets, numbers of labels a class, and the arms that are run on each at each."""
    few = ("labels", "prior", "published", "supercm", "supercm+prior")
    semi = ("pi_model", "mean_teacher", "vat", "pseudo_label", "fixmatch")
    yield (_DIGITS,), (1, 2, 4, 10), (*few, "adabn", *_AT_ONCE)
    yield (_DIGITS,), (1, 4), [f"published-{change}" for change in _CHANGES]
    yield (_DIGITS,), (4,), _with_and_without(semi)
    adapted = ("labels", "adabn", "supercm")
    yield list(_office_pairs()), (None,), (*adapted, *_with_and_without(("dann", "cdan", "mcc")), *_AT_ONCE)
    yield _DIGIT_DOMAINS, (None,), (*adapted, *_with_and_without(("dann", "mcc")))
    yield _28_BY_28, (1, 10), (*few, *_with_and_without(("fixmatch",)))
    yield (_CIFAR10,), (4, 25, 400), ("labels", "published", "supercm", *_with_and_without(("vat", "fixmatch")))


def _with_and_without(names: Sequence[str]) -> list[str]:
    return [arm for name in names for arm in (name, f"{name}+supercm")]


_NUM_CLASSES = 10  # of every suite with a number of labels per class


def _short(num_epochs: int, steps_per_epoch: int, **others: Any) -> dict[str, Any]:
    batches = {"labeled_batch_size": 32, "unlabeled_batch_size": 32}
    epochs = {"num_epochs": num_epochs, "steps_per_epoch": steps_per_epoch, "checkpoint_interval_epochs": num_epochs}
    return {**epochs, **batches, "device": "cpu", **others}


_FOUR_LAYERS = {"name": "small_cnn", "options": {"channels": [16, 32, 32, 32]}}

_DIGITS = Suite(
    name="digits",
    title="digits",
    data={"name": "digits"},
    model={"name": "small_cnn", "options": {"channels": [16, 32, 32]}},
    training=_short(6, 100, labeled_batch_size=50, unlabeled_batch_size=50),
)

_28_BY_28 = tuple(
    Suite(
        name=name,
        title=title,
        data={"name": name, "shift_pixels": 2},
        model=_FOUR_LAYERS,
        training=_short(3, 400, labeled_batch_size=16),
        num_splits=3,
    )
    for name, title in (("mnist", "MNIST"), ("fashion_mnist", "Fashion-MNIST"))
)

_DIGIT_DOMAINS = tuple(
    Suite(
        name=f"{source}-{target}",
        title=f"{source.upper()} → {target.upper()}",
        data={"name": source, "num_val": 500, "shift_pixels": 2, "target": {"name": target}},
        model=_FOUR_LAYERS,
        training=_short(3, 400),
        num_splits=3,
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
            training=_short(3, 75),
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
        "shift_pixels": 2,
        "flip": True,
    },
    model={"name": "wrn_28_2"},
    training={
        "num_epochs": 9,
        "steps_per_epoch": 1000,
        "labeled_batch_size": 64,
        "unlabeled_batch_size": 128,
        "device": "cuda",
    },
    num_splits=3,
    gpus_per_trial=1,
)
