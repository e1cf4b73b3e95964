"""The configuration of one training run: a frozen tree, each leaf with its range and unit.

A leaf is named by its dotted path, `algorithm.clustering_weight`, everywhere: in study files, on the command line,
in MLflow parameters and in plots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from supercm_ray.config.plugins import import_plugins
from supercm_ray.config.registry import (
    Frozen,
    OptionsModel,
    check_name,
    find_options,
    registry_of,
    rule_error,
    schema_of_options,
)

Leaf = bool | int | float | str | None | tuple[int, ...] | tuple[str, ...]
Tree: TypeAlias = dict[str, Any]
"""A configuration as plain values, in mappings that may hold mappings."""


class PlaceConfig(Frozen):
    """Which data set, and where it lies."""

    name: str = "digits"
    """The data set, by its registered name."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """The data set's own options."""
    root: str | None = None
    """The folder where the data lie; by default what SUPERCM_DATA names. `digits` needs none."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name("data.name", name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options("data.name", info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options("data.name", cls.model_fields["name"].default, schema, handler)


class DataConfig(PlaceConfig):
    """Which samples there are and which of them carry a label."""

    target: PlaceConfig | None = None
    """The target domain, for domain adaptation: labeled and validation samples come from the data set above, the
    source; unlabeled and test samples from this one. Its images are scaled to the source's size. What it leaves out of
    `root`, and of options such as `image_size`, is the source's. Samples that the source keeps for its own test are
    left out."""
    label_ratio: float | None = Field(None, gt=0, lt=1)
    """Labeled samples as a share of the training samples (labeled and unlabeled). Set this or `labels_per_class`;
    with a `target` neither, to use all labels of the source."""
    labels_per_class: int | None = Field(None, ge=1)
    """Labeled samples of each class. Set this or `label_ratio`."""
    val_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of all samples kept for validation. Their labels count towards the label budget."""
    num_val: int | None = Field(None, ge=1)
    """Samples kept for validation, in place of `val_fraction`."""
    test_fraction: float = Field(0.25, gt=0, lt=1)
    """Share of all samples kept for the test, read once at the end; without effect where a data set has test samples
    of its own."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Decides the validation and test samples, the same for all seeds of a study."""
    shift_pixels: int = Field(1, ge=0)
    """Weak augmentation: each training image is shifted by up to this many pixels along each axis."""
    flip: bool = False
    """Weak augmentation: each training image is mirrored left to right with probability one half."""
    noise_std: float = Field(0.0, ge=0)
    """Weak augmentation: standard deviation of Gaussian noise, with pixels in [0, 1]."""
    cutout_fraction: float = Field(0.4, ge=0, le=1)
    """Strong augmentation: side of the square that is blanked, as a share of the image's side."""
    strength: float = Field(0.5, ge=0, le=1)
    """Strong augmentation: from nothing to the full range of rotation, shear, scale, contrast and brightness."""

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


class ModelConfig(Frozen):
    """The backbone that maps images to features."""

    name: str = "small_cnn"
    """The backbone, by its registered name, or a classification model of torchvision by its name there."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """The backbone's own options."""
    bottleneck: int | None = Field(None, ge=1)
    """Width of a linear layer with BatchNorm and ReLU between backbone and head, whose output are the features; None
    for none."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name("model.name", name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options("model.name", info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options("model.name", cls.model_fields["name"].default, schema, handler)


class AlgorithmConfig(Frozen):
    """The loss: that of an algorithm plus `clustering_weight` times the clustering loss."""

    name: str = "supervised"
    """The algorithm, by its registered name. The default, cross-entropy alone, is SuperCM on its own with the
    clustering loss."""
    options: SerializeAsAny[OptionsModel] = Field(default_factory=dict, validate_default=True)
    """The algorithm's own options."""
    clustering_weight: float = Field(1.0, ge=0)
    """Weight of the clustering loss. 0 switches it off."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits everywhere."""
    consistency_weight: float = Field(1.0, ge=0)
    """Weight of the algorithm's own terms beside the cross-entropy."""
    consistency_warmup_steps: int = Field(0, ge=0)
    """Steps over which the consistency weight rises to its value."""
    loss_reduction: Literal["own_samples", "all_samples"] = "own_samples"
    """What the cross-entropy and the algorithm's terms are averaged over: each over its own samples, labeled or
    unlabeled; or, as published, both over all samples of the batch, which makes a clustering weight count the more.
    Terms over the samples of both domains are scaled like the others then."""
    balance_alpha: float = Field(1.0, gt=0)
    """Dirichlet parameter of the balance prior; 1 switches it off, above 1 favours balanced clusters."""
    clustering_warmup_steps: int = Field(0, ge=0)
    """Steps over which the clustering weight rises to its value; 0, as published, for none."""
    centroid_mode: Literal["labeled", "pseudo_labeled", "learned"] = "labeled"
    """What centroids are made of: labeled samples; these and unlabeled samples that are predicted with confidence
    (`centroid_threshold`); or parameters that the clustering loss trains."""
    centroid_threshold: float = Field(0.95, ge=0, le=1)
    """Probability above which the mode `pseudo_labeled` takes a prediction for a label."""
    centroid_rule: Literal["running_mean", "class_count", "ema"] = "running_mean"
    """How centroids follow the class means; `running_mean` is the published rule."""
    centroid_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the `ema` rule."""
    centroid_source: Literal["eval_pass", "batch"] = "eval_pass"
    """Features the centroids follow: those of an extra forward of the clean samples in eval mode (as published), or the
    step's own, which saves that forward."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_name("algorithm.name", name)

    @field_validator("options", mode="plain")
    @classmethod
    def _valid(cls, given: object, info: ValidationInfo) -> OptionsModel:
        return find_options("algorithm.name", info.data.get("name"), given)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return schema_of_options("algorithm.name", cls.model_fields["name"].default, schema, handler)

    @property
    def requires(self) -> frozenset[str]:
        """What the algorithm needs of a configuration, by the words of `supercm_ray.algorithms`."""
        return registry_of("algorithm.name").find(self.name).requires


class TrainingConfig(Frozen):
    """The loop: how long, how fast, on what."""

    num_epochs: int = Field(20, ge=1)
    """An epoch is `steps_per_epoch` steps, then one validation."""
    steps_per_epoch: int = Field(30, ge=1)
    """Optimizer steps in an epoch."""
    labeled_batch_size: int = Field(50, ge=1)
    """Labeled samples a step."""
    unlabeled_batch_size: int = Field(50, ge=0)
    """Unlabeled samples a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of Adam."""
    learning_rate_drop_at: float = Field(1.0, gt=0, le=1)
    """Share of all steps after which the learning rate is lower; 1 for never, as published 0.8."""
    learning_rate_drop: float = Field(0.2, gt=0, le=1)
    """What it is multiplied by then."""
    weight_decay: float = Field(0.0, ge=0)
    """Of Adam, decoupled."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the parameter average that is evaluated; 0 evaluates the parameters themselves."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where one is assigned."""
    sync_batch_norm: bool = True
    """On several workers: normalise by the batch of all, as one process would, instead of by each worker's part."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers within the network in training: bf16 by autocast, or fp32. Parameters, losses, centroids, averages and
    evaluation are in fp32 either way. `auto` takes bf16 for networks from 0.1 GFLOP an image, on a GPU that computes in
    it and on a CPU with AMX; AVX-512 alone multiplies in bf16 at half the rate of fp32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the network's pass in training. Results stay the same up to rounding. `auto` does it where it pays: one
    worker or no `sync_batch_norm`, a C++ compiler at hand, and on a CPU a run of 100 TFLOP or more (800 steps of
    wrn_28_2), on a GPU one of 5000 steps or more."""
    channels_last: bool = True
    """Keep the channels of a pixel next to each other in memory."""
    num_threads: int = Field(1, ge=1)
    """CPU threads of a training process."""
    checkpoint_interval_epochs: int = Field(1, ge=1)
    """Epochs from one checkpoint to the next."""
    checkpoint_interval_s: float | None = Field(None, gt=0)
    """Seconds after which the end of an epoch brings a checkpoint too, whatever the number of epochs."""
    storage_path: str | None = None
    """Where checkpoints lie while a run trains: a folder or a URI that pyarrow or fsspec knows (s3://, gs://, hdfs://),
    below which each run has its own folder. None for the run's folder in the results."""

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
"""Leaves that may differ between a run and its resumption."""


class Config(Frozen):
    """Everything that one training run depends on."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Decides which samples are labeled, the initial weights, the batches and the augmentation."""
    plugins: tuple[str, ...] = ()
    """Python modules that register algorithms, backbones or data sets of your own, imported wherever the run is. They
    are found as by `import` in the directory where the command is given."""
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig)
    training: TrainingConfig = TrainingConfig()

    @field_validator("plugins")
    @classmethod
    def _import(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Imports them before the fields below, which may name what they register, are validated."""
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
        """Every leaf by its dotted path."""
        return dict(flatten(self.model_dump()))

    def replace(self, overrides: Mapping[str, object]) -> Config:
        """A copy with the leaves at these dotted paths set, validated anew.

        Where a name changes, the options of what it names are the defaults, except those set here.

        Raises:
            KeyError: for a path that names no leaf.
            pydantic.ValidationError: for a value that breaks a rule.
        """
        tree = self.model_dump(mode="json")
        set_leaves(tree, overrides)
        return Config.model_validate_json(to_json(tree))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The (dotted path, value) pairs of a tree of mappings, in order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        pairs += flatten(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return pairs


def set_leaves(tree: Tree, values: Mapping[str, object]) -> None:
    """Sets leaves by their dotted paths, names before options, whatever the order in which they are given.

    Raises:
        KeyError: for a path that names no leaf.
    """
    for path in sorted(values, key=is_option):
        set_leaf(tree, path, values[path])


def is_option(path: str) -> bool:
    """Whether a dotted path names an option of a registered thing."""
    return ".options." in path


def set_leaf(tree: Tree, path: str, value: object) -> None:
    """Sets the leaf at a dotted path. A new name takes the options of the former one away; an option need not be in
    the tree, since the model of the options knows which there are.

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
    """JSON text, from which models are validated: there a list is a tuple's only form, so strictness can stay on."""
    return json.dumps(tree)
