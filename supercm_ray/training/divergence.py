"""What is not finite in a run whose loss is no number, and what to change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supercm_ray.config import Config
from supercm_ray.core import all_reduce_sum
from supercm_ray.errors import DivergedError
from supercm_ray.models import Classifier

_LARGE_LOSS = 1e3  # a cross-entropy that no usable network has
_LOW_TEMPERATURE = 0.01
_LARGE_ALPHA = 1e3
_SCALE = "scale the inputs down, or check the weights that the network loads"

Terms = Mapping[str, float]
"""The loss of a step under `loss`, and the terms it is the weighted sum of."""


@torch.no_grad()
def check_start(model: Classifier, inputs: Tensor, config: Config) -> None:
    """Checks that an untrained network's outputs on these inputs are finite. All workers must call this.

    Raises:
        DivergedError: if they are not; it names the first stage that is not.
    """
    outputs = model(inputs)
    stages = (inputs, outputs.features, model.clustering.head(outputs.features), outputs.logits)
    fails = all_reduce_sum(torch.stack([1.0 - stage.isfinite().all().double() for stage in stages])) > 0
    if not fails.any():
        return
    noise = f", or lower data.noise_std={config.data.noise_std:g}" if config.data.noise_std else ""
    rule = f"not finite, although its inputs, of sizes up to {inputs.abs().max():.3g}, are; {_SCALE}{noise}"
    reasons = (
        f"its inputs are not finite; repair the data{noise}",
        f"its features are {rule}",
        f"its outputs are {rule}",
        "its logits overflow, since they are its outputs divided by "
        f"algorithm.temperature={config.algorithm.temperature:g}; raise it",
    )
    raise DivergedError(f"the untrained network has no finite loss: {reasons[fails.tolist().index(True)]}")


def diverged(config: Config, steps: Sequence[Terms], history: Sequence[Mapping[str, float]]) -> DivergedError:
    """Returns the error of a run whose loss was not finite in one of `steps`.

    Args:
        config: the configuration of the run.
        steps: the terms of each step of the epoch in which it failed, means over workers.
        history: the metrics of the epochs before.
    """
    first = next(i for i, terms in enumerate(steps) if not all(map(math.isfinite, terms.values())))
    terms = steps[first]
    means = [{name: metrics[f"train/{name}"] for name in terms} for metrics in history[-1:]]
    before = [*means, *steps[:first]]
    what, remedy = _finding(config, terms, before)
    former = f" after {before[-1]['loss']:.3g}" if before else ""
    return DivergedError(
        f"the training loss became {terms['loss']}{former} in step "
        f"{first + 1} of epoch {len(history) + 1} of {config.training.num_epochs}: {what}; {remedy}"
    )


def diverged_parameters(config: Config, history: Sequence[Mapping[str, float]], model: Classifier) -> DivergedError:
    """Returns the error of a run whose outputs are not finite after an epoch of finite losses."""
    largest = max(parameter.abs().max().item() for parameter in model.parameters())
    what = f"have grown to {largest:.3g}" if math.isfinite(largest) else "are not finite"
    return DivergedError(
        f"the validation loss is not finite after epoch {len(history) + 1} of {config.training.num_epochs}: the "
        f"network's parameters {what}; {_lower(config, 'supervised')}"
    )


def _finding(config: Config, terms: Terms, before: Sequence[Terms]) -> tuple[str, str]:
    """Returns what was not finite first, and the remedy."""
    algorithm = config.algorithm
    broken = [name for name, value in terms.items() if name != "loss" and not math.isfinite(value)]
    if not broken:
        name = _largest(config, [terms])
        remedy = _lower(config, name) if before else _lower_weight(config, name)
        return "its terms are finite, their weighted sum is not", remedy
    if "supervised" in broken and algorithm.temperature < _LOW_TEMPERATURE:
        what = "the logits are too large, since a low temperature divides them"
        return what, f"raise algorithm.temperature={algorithm.temperature:g}"
    if broken in (["clustering"], ["balance_prior"]) and algorithm.balance_alpha > _LARGE_ALPHA:
        return "the balance prior is not finite", f"lower algorithm.balance_alpha={algorithm.balance_alpha:g}"
    if not before:
        return "the features of the untrained network are too large for it", _SCALE
    if not terms["supervised"] <= _LARGE_LOSS:
        what = "the network's outputs overflow, since its parameters or their gradients have grown too large"
        return what, _lower(config, _largest(config, before))
    why = ", since squared distances of features to centroids overflow" if broken == ["clustering"] else ""
    return f"not finite among its terms: {', '.join(broken)}{why}", _lower(config, broken[0])


def _largest(config: Config, steps: Sequence[Terms]) -> str:
    """Returns the term that was more than ten times the supervised one in some step, weights included; the supervised
    one if there is none.
    """
    sizes = {"supervised": 0.0}
    for terms in steps:
        for name in terms.keys() - {"loss"}:
            weight = 1.0 if name == "supervised" else getattr(config.algorithm, _weight(name))
            sizes[name] = max(sizes.get(name, 0.0), abs(weight * terms[name]))
    name = max(sizes, key=lambda name: sizes[name])
    return name if sizes[name] > 10 * sizes["supervised"] else "supervised"


def _lower(config: Config, name: str) -> str:
    """Returns the remedy for a term that has grown too large in training."""
    rate = f"training.learning_rate={config.training.learning_rate:g}"
    return f"lower {rate}" if name == "supervised" else f"{_lower_weight(config, name)} or {rate}"


def _lower_weight(config: Config, name: str) -> str:
    return f"lower algorithm.{_weight(name)}={getattr(config.algorithm, _weight(name)):g}"


def _weight(name: str) -> str:
    """Returns the key of the weight of a term other than the supervised one."""
    weights = {"clustering": "clustering_weight", "balance_prior": "balance_weight"}
    return weights.get(name, "consistency_weight")
