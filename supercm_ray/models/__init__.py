"""Backbones and the classifier built on them."""

from supercm_ray.models.backbones import BACKBONES, SmallCNN, build_backbone
from supercm_ray.models.classifier import Classifier, Outputs, build_classifier

__all__ = ["BACKBONES", "Classifier", "Outputs", "SmallCNN", "build_backbone", "build_classifier"]
