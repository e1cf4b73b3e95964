"""Backbones and the classifier built on them."""

from supercm_ray.models.backbones import BACKBONES, SmallCNN, build_backbone, published_image_size
from supercm_ray.models.classifier import Classifier, Outputs, build_classifier
from supercm_ray.models.fitted_head import UNSEEN_LOGIT, FittedHead
from supercm_ray.models.predictor import Predictor
from supercm_ray.models.sync_batch_norm import synchronise_batch_norm
from supercm_ray.models.weights import PUBLISHED, WeightsOptions, load_weights

__all__ = [
    "BACKBONES",
    "PUBLISHED",
    "UNSEEN_LOGIT",
    "Classifier",
    "FittedHead",
    "Outputs",
    "Predictor",
    "SmallCNN",
    "WeightsOptions",
    "build_backbone",
    "build_classifier",
    "load_weights",
    "published_image_size",
    "synchronise_batch_norm",
]
