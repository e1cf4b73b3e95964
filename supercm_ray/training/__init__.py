"""The training loop, evaluation and checkpoints."""

from supercm_ray.training.checkpoint import load_checkpoint, save_checkpoint
from supercm_ray.training.evaluate import Evaluation, evaluate, predict
from supercm_ray.training.loop import fit, train_epoch, train_step
from supercm_ray.training.state import TrainState, choose_device

__all__ = [
    "Evaluation",
    "TrainState",
    "choose_device",
    "evaluate",
    "fit",
    "load_checkpoint",
    "predict",
    "save_checkpoint",
    "train_epoch",
    "train_step",
]
