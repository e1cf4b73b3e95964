"""Using trained models: predictions, features, and the files of both."""

from supercm_ray.inference.card import ModelCard, describe, read_card, write_card
from supercm_ray.inference.embedding import Embedded, embed
from supercm_ray.inference.model import CARD, Model, of_checkpoint, of_folder
from supercm_ray.inference.predict_files import PredictResult, predict_files, predict_to_file
from supercm_ray.inference.predictions import Predictions

__all__ = [
    "CARD",
    "Embedded",
    "Model",
    "ModelCard",
    "PredictResult",
    "Predictions",
    "describe",
    "embed",
    "of_checkpoint",
    "of_folder",
    "predict_files",
    "predict_to_file",
    "read_card",
    "write_card",
]
