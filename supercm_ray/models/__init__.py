"""Backbones and the classifier built on them."""

from supercm_ray.models.backbones import BACKBONES, SmallCNN, build_backbone, find_backbone
from supercm_ray.models.classifier import Classifier, Outputs, build_classifier
from supercm_ray.models.predictor import Predictor
from supercm_ray.models.sync_batch_norm import synchronise_batch_norm
from supercm_ray.models.winograd import cpp_compiler, use_winograd

__all__ = [
    "BACKBONES",
    "Classifier",
    "Outputs",
    "Predictor",
    "SmallCNN",
    "build_backbone",
    "build_classifier",
    "cpp_compiler",
    "find_backbone",
    "synchronise_batch_norm",
    "use_winograd",
]
