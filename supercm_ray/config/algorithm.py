"""The section `algorithm` of a configuration: the training loss."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from supercm_ray.config.model import ModelConfig
from supercm_ray.config.registry import NamedSection, registry_of, rule_error
from supercm_ray.config.training import TrainingConfig

ABOUT_UNLABELED = frozenset({"unlabeled", "two_views", "indices", "target"})
"""What an algorithm may require of unlabeled samples."""


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
    balance_weight: float | None = Field(None, ge=0)
    """Weight of the balance prior, from 0, whatever the clustering weight, so that an algorithm without the clustering
    loss can have the same prior. None: the prior is a part of the clustering loss and has its weight."""
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

    @model_validator(mode="after")
    def _check(self) -> AlgorithmConfig:
        if self.balance_weight and self.balance_alpha == 1:
            rule, remedy = "`balance_alpha` other than 1, at which there is no prior", "set it, such as 1.03"
            raise rule_error(
                rule, f"1 with balance_weight={self.balance_weight:g}", path="balance_alpha", remedy=remedy
            )
        return self

    @property
    def requires(self) -> frozenset[str]:
        """What the algorithm requires of a configuration: some of `target`, `two_views`, `indices`, `unlabeled`
        and `fixed_features`.
        """
        return registry_of("algorithm.name").find(self.name).requires

    @property
    def uses_unlabeled(self) -> bool:
        """Whether any term of the loss depends on unlabeled samples."""
        return bool(self.requires & ABOUT_UNLABELED) or self.clustering_weight > 0 or bool(self.balance_weight)

    @property
    def closed_form(self) -> bool:
        """Whether the head is fitted at once to features that do not change, rather than trained in steps."""
        return "fixed_features" in self.requires


def check_closed_form(algorithm: AlgorithmConfig, model: ModelConfig, training: TrainingConfig) -> None:
    """Checks what must hold for an algorithm that fits the head at once.

    Raises:
        PydanticCustomError: for features that training changes, more than one epoch, or the weight of a loss.
    """
    name = f"algorithm.name={algorithm.name}"
    rule, remedy = "features that training does not change", "set model.name=identity, or model.frozen=true"
    if model.bottleneck is not None:
        got = f"a bottleneck of {model.bottleneck}, which is trained,"
        raise rule_error(rule, f"{got} with {name}", path="model.bottleneck", remedy="omit it")
    if not model.frozen and model.name != "identity":
        raise rule_error(rule, f"{model.name} that is trained with {name}", path="model.name", remedy=remedy)
    if training.num_epochs != 1:
        rule, got = "`num_epochs == 1` for an algorithm that is fitted at once", f"{training.num_epochs}"
        raise rule_error(rule, f"{got} with {name}", path="training.num_epochs", remedy="set it to 1")
    for weight in ("clustering_weight", "balance_weight"):
        if getattr(algorithm, weight):
            rule, got = f"`{weight} == 0` for an algorithm without a loss", f"{getattr(algorithm, weight):g}"
            raise rule_error(rule, f"{got} with {name}", path=f"algorithm.{weight}", remedy="set it to 0")
