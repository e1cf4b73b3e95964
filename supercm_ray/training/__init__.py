"""The training loop, evaluation and checkpoints."""

from supercm_ray.training.checkpoint import pack, unpack, unpack_average
from supercm_ray.training.evaluate import Evaluation, evaluate, predict
from supercm_ray.training.job import OUTCOME, Job, train_job
from supercm_ray.training.loop import fit, train_epoch, train_step
from supercm_ray.training.state import TrainState, choose_device
from supercm_ray.training.store import BEST, LAST, CheckpointStore

__all__ = [
    "BEST",
    "LAST",
    "OUTCOME",
    "CheckpointStore",
    "Evaluation",
    "Job",
    "TrainState",
    "choose_device",
    "evaluate",
    "fit",
    "pack",
    "predict",
    "train_epoch",
    "train_job",
    "train_step",
    "unpack",
    "unpack_average",
]
