"""The configuration of one training run: a frozen tree, each leaf with its range and unit.

A leaf is named by its dotted path, `algorithm.clustering_weight`, everywhere: in study files, on the command line,
in MLflow parameters and in plots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from supercm_ray.config.plugins import import_plugins
from supercm_ray.config.registry import (
    Frozen,
    NamedSection,
    registry_of,
    rule_error,
)

Leaf = bool | int | float | str | None | tuple[int, ...] | tuple[str, ...]
Tree: TypeAlias = dict[str, Any]
"""A configuration as plain values, in mappings that may hold mappings."""


class PlaceConfig(NamedSection):
    """A data set, its options and its folder."""

    path: ClassVar[str] = "data.name"

    name: str = "digits"
    """Registered name of the data set."""
    root: str | None = None
    """Folder that holds the data set's files; by default the folder in the environment variable SUPERCM_DATA. The data
    set `digits` needs none."""


class DataConfig(PlaceConfig):
    """The data set, its split into labeled, unlabeled, validation and test samples, and the augmentation."""

    target: PlaceConfig | None = None
    """Data set of the target domain, for domain adaptation. Unlabeled and test samples then come from this data set,
    labeled and validation samples from the source, which is the data set `data.name`. Images of the target are scaled
    to the source's size. `root` and options such as `image_size` that are omitted here are those of the source. The
    source's own test samples are not used."""
    label_ratio: float | None = Field(None, gt=0, lt=1)
    """Fraction of the training samples (labeled and unlabeled) that are labeled, between 0 and 1. Set either this or
    `labels_per_class`; with a `target`, set neither to use all labels of the source."""
    labels_per_class: int | None = Field(None, ge=1)
    """Number of labeled samples of each class, from 1. Set either this or `label_ratio`."""
    val_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of all samples used for validation, between 0 and 1. Their labels count towards the label budget."""
    num_val: int | None = Field(None, ge=1)
    """Number of samples used for validation, from 1. Takes precedence over `val_fraction`."""
    test_fraction: float = Field(0.25, gt=0, lt=1)
    """Fraction of all samples held out for the test, between 0 and 1. Without effect for a data set that has test
    samples of its own."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed that decides which samples are used for validation and test. All runs of a study share it."""
    shift_pixels: int = Field(1, ge=0)
    """Weak augmentation: largest random shift of a training image along each axis, in pixels, from 0."""
    flip: bool = False
    """Weak augmentation: whether to mirror each training image left to right with probability 0.5."""
    noise_std: float = Field(0.0, ge=0)
    """Weak augmentation: standard deviation of the Gaussian noise added to pixels, which are in [0, 1]; from 0."""
    cutout_fraction: float = Field(0.4, ge=0, le=1)
    """Strong augmentation: side of the blanked square as a fraction of the image's side, from 0 to 1."""
    strength: float = Field(0.5, ge=0, le=1)
    """Strong augmentation: strength of rotation, shear, scaling, contrast and brightness, from 0 (none) to 1 (full
    range)."""

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        num_set = (self.label_ratio is not None) + (self.labels_per_class is not None)
        if num_set == 2 or (num_set == 0 and self.target is None):
            got = f"label_ratio={self.label_ratio}, labels_per_class={self.labels_per_class}"
            raise rule_error(
                "exactly one of `label_ratio` and `labels_per_class`", got, remedy="set one, omit the other"
            )
        if self.val_fraction + self.test_fraction >= 1:
            got = f"val_fraction={self.val_fraction}, test_fraction={self.test_fraction}"
            raise rule_error("`val_fraction + test_fraction < 1`", got, remedy="leave samples to train on")
        return self


class ModelConfig(NamedSection):
    """The backbone that maps images to features."""

    path: ClassVar[str] = "model.name"

    name: str = "small_cnn"
    """Registered name of the backbone, torchvision's name of one of its classification models, or `timm/NAME` for a
    model of timm, where that package is installed."""
    bottleneck: int | None = Field(None, ge=1)
    """Number of features put out by a linear layer with BatchNorm and ReLU between backbone and head, from 1. None: no
    such layer."""


class AlgorithmConfig(NamedSection):
    """The training loss: the algorithm's loss plus `clustering_weight` times the clustering loss."""

    path: ClassVar[str] = "algorithm.name"

    name: str = "supervised"
    """Registered name of the algorithm. The default, `supervised`, is the cross-entropy of labeled samples; with the
    clustering loss it is SuperCM on its own."""
    clustering_weight: float = Field(1.0, ge=0)
    """Weight of the clustering loss, from 0, which switches it off."""
    temperature: float = Field(1.0, gt=0)
    """Divisor of the logits before every softmax, above 0."""
    consistency_weight: float = Field(1.0, ge=0)
    """Weight, from 0, of the algorithm's terms other than the cross-entropy of labeled samples."""
    consistency_warmup_steps: int = Field(0, ge=0)
    """Number of steps over which `consistency_weight` rises from 0 to its value. 0: no rise."""
    loss_reduction: Literal["own_samples", "all_samples"] = "own_samples"
    """What each loss term is averaged over: the labeled or unlabeled samples that it is computed from (`own_samples`),
    or, as published, all samples of the batch (`all_samples`), which makes the clustering weight count for more. With
    `all_samples`, terms over the samples of both domains are scaled like the others."""
    balance_alpha: float = Field(1.0, gt=0)
    """Dirichlet parameter of the balance prior, above 0. 1 switches the prior off; values above 1 favour balanced
    clusters."""
    clustering_warmup_steps: int = Field(0, ge=0)
    """Number of steps over which `clustering_weight` rises from 0 to its value. 0, as published: no rise."""
    centroid_mode: Literal["labeled", "pseudo_labeled", "learned"] = "labeled"
    """What centroids are computed from: labeled samples (`labeled`); labeled samples and unlabeled samples predicted
    with a probability above `centroid_threshold` (`pseudo_labeled`); or nothing, since they are parameters that the
    clustering loss trains (`learned`)."""
    centroid_threshold: float = Field(0.95, ge=0, le=1)
    """Probability, from 0 to 1, above which `centroid_mode: pseudo_labeled` uses a prediction as a label."""
    centroid_rule: Literal["running_mean", "class_count", "ema"] = "running_mean"
    """How centroids are updated with the class means of a batch: by a mean over steps (`running_mean`, as published), a
    mean weighted by class counts (`class_count`), or an exponential moving average (`ema`)."""
    centroid_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the centroids under `centroid_rule: ema`, from 0 to below 1."""
    centroid_source: Literal["eval_pass", "batch"] = "eval_pass"
    """Features that centroids are computed from: those of an extra forward pass of the unaugmented samples in eval mode
    (`eval_pass`, as published), or those of the training step itself (`batch`), which saves that pass."""

    @property
    def requires(self) -> frozenset[str]:
        """What the algorithm requires of a configuration: some of `target`, `two_views`, `indices` and `unlabeled`."""
        return registry_of("algorithm.name").find(self.name).requires


class TrainingConfig(Frozen):
    """The training loop: its length, batch sizes, optimizer, device and checkpoints."""

    num_epochs: int = Field(20, ge=1)
    """Number of epochs of a run, from 1. An epoch is `steps_per_epoch` steps followed by one validation."""
    steps_per_epoch: int = Field(30, ge=1)
    """Number of optimizer steps in an epoch, from 1."""
    labeled_batch_size: int = Field(50, ge=1)
    """Number of labeled samples in a step, of all workers together, from 1."""
    unlabeled_batch_size: int = Field(50, ge=0)
    """Number of unlabeled samples in a step, of all workers together, from 0."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the Adam optimizer, above 0."""
    learning_rate_drop_at: float = Field(1.0, gt=0, le=1)
    """Fraction of all steps after which the learning rate is multiplied by `learning_rate_drop`, up to 1, which means
    never. The published value is 0.8."""
    learning_rate_drop: float = Field(0.2, gt=0, le=1)
    """Factor by which the learning rate is multiplied at `learning_rate_drop_at`, up to 1."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of the optimizer, decoupled from the gradient as in AdamW, from 0."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the exponential moving average of the parameters that is evaluated, from 0 to below 1. With 0
    the parameters themselves are evaluated."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on. `auto` uses a GPU if one is assigned to the process, and otherwise the CPU."""
    sync_batch_norm: bool = True
    """Whether BatchNorm on several workers uses the statistics of the whole batch, as one process would, instead of
    those of each worker's own samples."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format within the network in training: bf16 by autocast, or fp32. Parameters, losses, centroids, averages
    and evaluation are in fp32 either way. `auto` uses bf16 for networks from 0.1 GFLOP per image on a GPU that computes
    in bf16 or a CPU with AMX; a CPU with AVX-512 alone multiplies in bf16 at half the rate of fp32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether to compile the network's forward and backward pass in training. Results are the same up to rounding.
    `auto` compiles with one worker or without `sync_batch_norm`, if a C++ compiler is found, and if the run is long
    enough: 100 TFLOP on a CPU (800 steps of wrn_28_2), 5000 steps on a GPU."""
    channels_last: bool = True
    """Whether images are stored with the channels of a pixel next to each other in memory."""
    num_threads: int = Field(1, ge=1)
    """Number of CPU threads of each training process, from 1."""
    checkpoint_interval_epochs: int = Field(1, ge=1)
    """Number of epochs between checkpoints, from 1."""
    checkpoint_interval_s: float | None = Field(None, gt=0)
    """Seconds, above 0, since the last checkpoint after which the end of an epoch saves another, even if
    `checkpoint_interval_epochs` have not passed. None: no such limit."""
    storage_path: str | None = None
    """Folder or URI (such as s3://, gs:// or hdfs://, as pyarrow and fsspec know them) that checkpoints are written to,
    with a subfolder for each run. None: the run's folder in the results."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.storage_path is not None and "@" in urlsplit(self.storage_path).netloc:
            remedy = "leave them out, and give them by environment variables or a credentials file"
            rule = "a URI without credentials, which would be kept in records"
            raise rule_error(rule, "a URI with some", path="storage_path", remedy=remedy)
        return self


FREE_TO_CHANGE = tuple(
    f"training.{name}"
    for name in (
        *("device", "num_threads", "compile", "channels_last"),
        *("checkpoint_interval_epochs", "checkpoint_interval_s", "storage_path"),
    )
) + tuple(
    f"{place}.options.{name}"
    for place in ("data", "data.target")
    for name in ("stream", "memory_gib", "stream_threads")
)
"""Dotted paths of leaves that may differ between a run and its resumption."""


class Config(Frozen):
    """The complete configuration of one training run."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Seed that decides which samples are labeled, the initial weights, the batches and the augmentation."""
    plugins: tuple[str, ...] = ()
    """Names of Python modules that register algorithms, backbones, data sets and the like. Every process of a run
    imports them, from the directory where the command is given or from installed packages."""
    data: DataConfig
    """The data set, its split and the augmentation; give at least `label_ratio` or `labels_per_class`."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The backbone that maps images to features."""
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig)
    """The algorithm and its loss weights."""
    training: TrainingConfig = TrainingConfig()
    """The training loop: its length, batch sizes, optimizer, device and checkpoints."""

    @field_validator("plugins")
    @classmethod
    def _import(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Imports the plug-ins before the fields that may name what they register are validated."""
        import_plugins(names)
        return names

    @model_validator(mode="after")
    def _check(self) -> Config:
        name, needs = self.algorithm.name, self.algorithm.requires
        if needs and self.training.unlabeled_batch_size == 0:  # every need is about unlabeled samples
            got = f"unlabeled_batch_size=0 with algorithm.name={name}"
            remedy = "raise it, or take an algorithm of labeled samples alone, such as the default"
            raise rule_error("`unlabeled_batch_size >= 1`", got, path="training.unlabeled_batch_size", remedy=remedy)
        if "target" in needs and self.data.target is None:
            rule, got = "an algorithm for domain adaptation needs a target", f"none with algorithm.name={name}"
            raise rule_error(rule, got, path="data.target", remedy="give data.target, or take another algorithm")
        return self

    def leaves(self) -> dict[str, Leaf]:
        """Returns the value of every leaf by its dotted path."""
        return dict(flatten(self.model_dump()))

    def replace(self, overrides: Mapping[str, object]) -> Config:
        """Returns a copy with the leaves at these dotted paths set, validated again.

        Where a name changes, its options become the defaults of the new name, except those set here.

        Raises:
            KeyError: for a path that names no leaf.
            pydantic.ValidationError: for a value that breaks a rule.
        """
        tree = self.model_dump(mode="json")
        set_leaves(tree, overrides)
        return Config.model_validate_json(to_json(tree))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns the (dotted path, value) pairs of a tree of mappings, in order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        pairs += flatten(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return pairs


def set_leaves(tree: Tree, values: Mapping[str, object]) -> None:
    """Sets leaves by their dotted paths: names first, then options, whatever the order in `values`.

    Raises:
        KeyError: for a path that names no leaf.
    """
    for path in sorted(values, key=is_option):
        set_leaf(tree, path, values[path])


def is_option(path: str) -> bool:
    """Returns whether a dotted path names an option of something registered, such as `model.options.channels`."""
    return ".options." in path


def set_leaf(tree: Tree, path: str, value: object) -> None:
    """Sets the leaf at a dotted path. Setting a new name clears the options; an option need not be in the tree yet.

    Raises:
        KeyError: for a path that names no leaf.
    """
    *parents, last = path.split(".")
    for name in parents:
        tree = tree[name]
    is_new_option = parents[-1:] == ["options"] and isinstance(tree, dict) and last not in tree
    if not is_new_option and (not isinstance(tree, dict) or last not in tree or isinstance(tree[last], dict)):
        raise KeyError(path)
    if last == "name" and "options" in tree and tree[last] != value:
        tree["options"] = {}
    tree[last] = value


def to_json(tree: object) -> str:
    """Returns JSON text to validate a model from: in JSON mode a strict model accepts a list for a tuple."""
    return json.dumps(tree)
