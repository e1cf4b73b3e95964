"""Using trained models: predictions, features, and the files of both."""

from supercm_ray.inference.card import ModelCard, describe, read_card, write_card
from supercm_ray.inference.model import CARD, Model, of_checkpoint, of_folder
from supercm_ray.inference.predictions import Predictions

__all__ = [
    "CARD",
    "Model",
    "ModelCard",
    "Predictions",
    "describe",
    "of_checkpoint",
    "of_folder",
    "read_card",
    "write_card",
]
