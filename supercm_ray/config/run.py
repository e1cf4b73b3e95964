"""The configuration of one training run: a frozen tree, each leaf with its range and unit.

A leaf is named by its dotted path, `algorithm.clustering_weight`, everywhere: in study files, on the command line,
in MLflow parameters and in plots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from supercm_ray.config.algorithm import ABOUT_UNLABELED, AlgorithmConfig, check_closed_form
from supercm_ray.config.model import ModelConfig
from supercm_ray.config.plugins import import_plugins
from supercm_ray.config.registry import (
    Frozen,
    NamedSection,
    rule_error,
)
from supercm_ray.config.training import TrainingConfig
from supercm_ray.credentials import has_credentials

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


class StrongViewConfig(NamedSection):
    """The operations of the strong augmentation, between weak augmentation and Cutout, and their options."""

    path: ClassVar[str] = "data.strong.name"

    name: str = "basic"
    """Registered name of the operations: `basic`, `randaugment` or one of a plug-in."""


AUGMENTATION = (
    *("crop_scale", "crop_ratio", "shift_pixels", "shift_padding", "flip", "noise_std", "strong", "cutout_fraction"),
)
"""Names of the keys of `data` that say how training images are augmented."""


class DataConfig(PlaceConfig):
    """The data set, its split into labeled, unlabeled, validation and test samples, and the augmentation."""

    unlabeled: PlaceConfig | None = None
    """Data set of further unlabeled samples, whose labels are not read and may be absent; test samples that it keeps
    itself are left out. Images are scaled to the size of those of `data.name`; `root` and options such as `image_size`
    that are omitted here are those of `data.name`."""
    test: PlaceConfig | None = None
    """Data set of the test samples, all labeled, with classes of `data.name`, of which some may be absent; of a data
    set that keeps test samples itself, those alone. It replaces test samples that `data.name` keeps itself or that
    `test_fraction` would take; with a `target`, those of the target. `root` and options such as `image_size` that are
    omitted here are those of `data.name`."""
    target: PlaceConfig | None = None
    """Data set of the target domain, for domain adaptation. Unlabeled and test samples then come from this data set,
    labeled and validation samples from the source, which is the data set `data.name`. The target needs no labels: those
    that it has serve the test and `oracle/accuracy` alone. Images of the target are scaled to the source's size. `root`
    and options such as `image_size` that are omitted here are those of the source. The source's own test samples are
    not used."""
    transductive: bool = False
    """Whether all samples of the target are unlabeled training samples and those with a label also the test samples, as
    in published tables of Office-31. By default the target's test samples are held out from training (inductive)."""
    splits: str | None = None
    """Path of a file that says which samples are `labeled`, `unlabeled`, `val` and `test`, by index or by file name:
    npz (arrays of these names, such as the splits.npz of a former run), json (an object of lists), csv (columns `split`
    and `index` or `name`), or npy (indices of the labeled samples). `{seed}` in it stands for the seed of the run. A
    split that the file omits is made as without the file, of the samples that are left. Where `test` is listed, test
    samples that the data set keeps itself and the file does not list are left out."""
    label_ratio: float | None = Field(None, gt=0, le=1)
    """Fraction of the training samples with a known label whose labels are used, above 0 up to 1, which uses all. Set
    either this or `labels_per_class`, or neither to use all known labels."""
    labels_per_class: int | None = Field(None, ge=1)
    """Number of labeled samples of each class, from 1; with a `label_choice`, of all classes together, divided by their
    number. Set either this or `label_ratio`, or neither to use all known labels."""
    label_choice: Literal["random", "typical", "coverage"] = "random"
    """Which training samples with a known label are labeled: as many of each class as the two keys before ask for, at
    random (`random`); or those that are chosen by their inputs alone, as by an annotator before any label is known: the
    most typical sample of each of many clusters (`typical`, after TypiClust), or the samples whose surroundings cover
    most others (`coverage`, after ProbCover). Chosen samples are unevenly of the classes, and of some there may be
    none, which training then cannot learn. Inputs are compared as vectors, pixel by pixel: features that
    `supercm-ray embed` makes are better to choose by. Each seed chooses others; with a `target`, of the source.
    Validation and test samples are random."""
    labeled_in_unlabeled: bool = False
    """Whether the labeled samples are also among the unlabeled ones, without their labels. Not with a `target`, whose
    samples are the unlabeled ones."""
    val_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of the samples with a known label used for validation, between 0 and 1; samples of a given test set do
    not count. Their labels count towards the label budget. Without effect for a data set that has validation samples of
    its own."""
    num_val: int | None = Field(None, ge=1)
    """Number of samples used for validation, from 1. Takes precedence over `val_fraction`."""
    test_fraction: float = Field(0.25, ge=0, lt=1)
    """Fraction of the samples with a known label held out for the test, from 0, which means no test split, to below 1.
    Without effect for a data set that has test samples of its own."""
    standardise: Literal["auto", "on", "off"] = "auto"
    """Whether each feature of vectors is centred and divided by its standard deviation over the training samples;
    `noise_std` and VAT's `epsilon` are then in standard deviations. `auto` does so unless `l2_normalise` is set.
    Without effect on images."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed that decides which samples are used for validation and test. All runs of a study share it."""
    crop_scale: float = Field(1.0, gt=0, le=1)
    """Weak augmentation: smallest area of a random crop as a fraction of the image's, up to 1, which means no crop.
    Each training image is replaced by a crop of random area, ratio and place, scaled to the image's size."""
    crop_ratio: float = Field(4 / 3, ge=1)
    """Weak augmentation: largest ratio of the longer to the shorter side of a random crop, from 1, which means crops
    that are square."""
    shift_pixels: int = Field(1, ge=0)
    """Weak augmentation: largest random shift of a training image along each axis, in pixels, from 0."""
    shift_padding: Literal["zeros", "reflect"] = "zeros"
    """Weak augmentation: what a shift brings in at the border: zeros (`zeros`), or the image mirrored at its border
    (`reflect`)."""
    flip: bool = False
    """Weak augmentation: whether to mirror each training image left to right with probability 0.5."""
    noise_std: float = Field(0.0, ge=0)
    """Weak augmentation: standard deviation of the Gaussian noise added to pixels, which are in [0, 1], or to vectors,
    in standard deviations of each feature if they are standardised; from 0."""
    strong: StrongViewConfig = Field(default_factory=StrongViewConfig)
    """Strong augmentation: the operations that follow the weak augmentation, such as `{name: randaugment}`."""
    cutout_fraction: float = Field(0.4, ge=0, le=1)
    """Strong augmentation: side of the blanked square as a fraction of the image's side, from 0 to 1."""

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.label_ratio is not None and self.labels_per_class is not None:
            got = f"label_ratio={self.label_ratio}, labels_per_class={self.labels_per_class}"
            raise rule_error(
                "at most one of `label_ratio` and `labels_per_class`", got, remedy="set one, omit the other"
            )
        self._check_label_choice()
        if self.transductive and self.target is None:
            raise rule_error("`transductive` needs a target", "none", path="transductive", remedy="give data.target")
        if self.transductive and self.test is not None:
            rule, got = "`transductive` tests on the target's samples", "a test set of its own"
            raise rule_error(rule, got, path="transductive", remedy="omit data.test, or data.transductive")
        if self.labeled_in_unlabeled and self.target is not None:
            rule, got = (
                "`labeled_in_unlabeled` has no meaning with a target, whose samples are the unlabeled ones",
                "true",
            )
            raise rule_error(rule, got, path="labeled_in_unlabeled", remedy="omit it")
        if self.val_fraction + self.test_fraction >= 1:
            got = f"val_fraction={self.val_fraction}, test_fraction={self.test_fraction}"
            raise rule_error("`val_fraction + test_fraction < 1`", got, remedy="leave samples to train on")
        return self

    def _check_label_choice(self) -> None:
        """Checks that there is a choice to be made."""
        rule, got = "`label_choice` chooses some of the labels", f"{self.label_choice}"
        if self.label_choice == "random":
            return
        if self.splits is not None and self.splits.lower().endswith(".npy"):
            got += f" with splits={self.splits}, which lists the labeled samples"
            raise rule_error(rule, got, path="label_choice", remedy="omit it, or the file")
        if self.label_ratio is None and self.labels_per_class is None:
            got += ", with neither label_ratio nor labels_per_class, which uses all"
            raise rule_error(rule, got, path="label_choice", remedy="set one of these, or omit label_choice")


FREE_TO_CHANGE = tuple(
    f"training.{name}"
    for name in (
        *("device", "num_threads", "compile", "channels_last"),
        *("checkpoint_interval_epochs", "checkpoint_interval_s", "storage_path"),
    )
) + tuple(
    f"{place}.options.{name}"
    for place in ("data", "data.unlabeled", "data.test", "data.target")
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
    """The data set, its split and the augmentation."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The backbone that maps images to features."""
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig)
    """The algorithm and its loss weights."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The training loop: its length, batch sizes, optimizer, device and checkpoints."""

    @field_validator("plugins")
    @classmethod
    def _import(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Imports the plug-ins before the fields that may name what they register are validated."""
        import_plugins(names)
        return names

    @model_validator(mode="after")
    def _check(self) -> Config:
        self._check_credentials()
        name, needs = self.algorithm.name, self.algorithm.requires
        if needs & ABOUT_UNLABELED and self.training.unlabeled_batch_size == 0:
            got = f"unlabeled_batch_size=0 with algorithm.name={name}"
            remedy = "raise it, or take an algorithm of labeled samples alone, such as the default"
            raise rule_error("`unlabeled_batch_size >= 1`", got, path="training.unlabeled_batch_size", remedy=remedy)
        if "target" in needs and self.data.target is None:
            rule, got = "an algorithm for domain adaptation needs a target", f"none with algorithm.name={name}"
            raise rule_error(rule, got, path="data.target", remedy="give data.target, or take another algorithm")
        if self.algorithm.closed_form:
            check_closed_form(self.algorithm, self.model, self.training)
        factor = self.training.backbone_learning_rate_factor
        if self.model.frozen and factor != 1:
            rule, got = "a learning rate of a backbone that is trained", f"{factor:g} with model.frozen=true"
            path = "training.backbone_learning_rate_factor"
            raise rule_error(rule, got, path=path, remedy="leave it at 1, or set model.frozen=false")
        return self

    def _check_credentials(self) -> None:
        """Checks that no text has credentials in it, since every text is kept in records and shown."""
        for path, value in self.leaves().items():
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(text, str) and has_credentials(text) for text in texts):
                remedy = "leave them out, and give them by environment variables or a credentials file"
                rule = "an address without credentials, which would be kept in records"
                raise rule_error(rule, "one with some", path=path, remedy=remedy)

    @property
    def unlabeled_batch_size(self) -> int:
        """Number of unlabeled samples of a step, of all workers together. It is 0 if no term of the loss depends on
        them, as for `supervised` with a clustering weight of 0: a baseline of labels alone must not pass them through
        BatchNorm either.
        """
        return self.training.unlabeled_batch_size if self.algorithm.uses_unlabeled else 0

    @property
    def batch_size(self) -> int:
        """Number of samples of a step, labeled and unlabeled, of all workers together."""
        return self.training.labeled_batch_size + self.unlabeled_batch_size

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
