"""The one epoch of an algorithm that fits the head at once. Shapes: L labeled samples, U unlabeled ones, D features."""

from __future__ import annotations

import torch
from torch.nn import functional

from supercm_ray.algorithms import ClosedForm
from supercm_ray.core import broadcast_object, rank
from supercm_ray.data import DeviceData
from supercm_ray.models import FittedHead
from supercm_ray.training.evaluate import predict
from supercm_ray.training.state import TrainState


@torch.no_grad()
def fit_head(state: TrainState, data: DeviceData) -> dict[str, float]:
    """Fits the head to the features of all labeled and unlabeled samples, and sets the centroids to the class means of
    the labeled ones. Features are those of the unaugmented inputs. On several workers the first fits it.

    Returns:
        The cross-entropy of the labeled samples, as the terms `loss` and `supervised`.
    """
    algorithm, head, labels_L = state.algorithm, state.model.clustering, data.labels[data.labeled]
    assert isinstance(algorithm, ClosedForm) and isinstance(head, FittedHead)
    labeled_LD = predict(state.ema_model, data, data.labeled).features
    unlabeled = data.unlabeled if state.config.algorithm.uses_unlabeled else data.unlabeled[:0]
    unlabeled_UD = predict(state.ema_model, data, unlabeled).features if len(unlabeled) else labeled_LD[:0]
    if rank() == 0:
        features = [values.double().cpu().numpy() for values in (labeled_LD, unlabeled_UD)]
        algorithm.fit(head, features[0], labels_L.cpu().numpy(), features[1])
    fitted = broadcast_object({name: value.cpu() for name, value in head.state_dict().items()})
    for module in (head, state.ema_model.clustering):
        module.load_state_dict(fitted)
    state.centroids.update(labeled_LD, labels_L)
    state.step += state.config.training.steps_per_epoch
    loss = functional.cross_entropy(head(labeled_LD)[0], labels_L).item()
    return {"loss": loss, "supervised": loss}
