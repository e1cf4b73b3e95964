"""The training loop, evaluation and checkpoints."""

from supercm_ray.training.checkpoint import deserialize, deserialize_model, serialize, with_config
from supercm_ray.training.evaluate import Evaluation, evaluate, predict
from supercm_ray.training.job import Job, train_job
from supercm_ray.training.loop import fit, train_epoch, train_step
from supercm_ray.training.optimizers import OPTIMIZERS
from supercm_ray.training.schedules import SCHEDULES
from supercm_ray.training.state import TrainState, choose_device
from supercm_ray.training.validators import VALIDATORS, Validator

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "VALIDATORS",
    "Evaluation",
    "Job",
    "TrainState",
    "Validator",
    "choose_device",
    "deserialize",
    "deserialize_model",
    "evaluate",
    "fit",
    "predict",
    "serialize",
    "train_epoch",
    "train_job",
    "train_step",
    "with_config",
]
