"""The section `training` of a configuration: the loop, the optimizer, its learning rate, device and checkpoints."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from supercm_ray.config.registry import Frozen, NamedSection, rule_error


class OptimizerConfig(NamedSection):
    """The optimizer and its options."""

    path: ClassVar[str] = "training.optimizer.name"

    name: str = "adamw"
    """Registered name of the optimizer: `adamw`, `adam`, `sgd` or one of a plug-in."""


class ScheduleConfig(NamedSection):
    """The course of the learning rate after the warm-up, and its options."""

    path: ClassVar[str] = "training.schedule.name"

    name: str = "constant"
    """Registered name of the schedule: `constant`, `step`, `cosine`, `usb_cosine`, `dann` or one of a plug-in."""


class TrainingConfig(Frozen):
    """The training loop: its length, batch sizes, optimizer, device and checkpoints."""

    num_epochs: int = Field(20, ge=1)
    """Number of epochs of a run, from 1. An epoch is `steps_per_epoch` steps followed by one validation."""
    steps_per_epoch: int = Field(30, ge=1)
    """Number of optimizer steps in an epoch, from 1."""
    labeled_batch_size: int = Field(50, ge=1)
    """Number of labeled samples in a step, of all workers together, from 1."""
    unlabeled_batch_size: int = Field(50, ge=0)
    """Number of unlabeled samples in a step, of all workers together, from 0."""
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    """The optimizer, such as `{name: sgd, options: {momentum: 0.9, nesterov: true}}`."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the optimizer, above 0, which `schedule` and `warmup_steps` multiply by a factor in each
    step."""
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    """The factor of the learning rate over the steps after the warm-up, such as `{name: cosine}`."""
    warmup_steps: int = Field(0, ge=0)
    """Number of steps over which the learning rate rises linearly to its value, from 0, which means no rise, to below
    the number of steps of the run."""
    backbone_learning_rate_factor: float = Field(1.0, gt=0)
    """Learning rate of the backbone, without the bottleneck, as a multiple of that of all other parameters, above 0."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of the optimizer, from 0: decoupled from the gradient in `adamw`, added to the gradient in `adam`
    and `sgd`."""
    decay_norms_and_biases: bool = True
    """Whether the weight decay also applies to biases and to the parameters of normalisation layers, which are those of
    at most one dimension."""
    clip_grad_norm: float | None = Field(None, gt=0)
    """Largest L2 norm of the gradient of all parameters together, above 0; a longer gradient is scaled down to it.
    None: no limit."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the exponential moving average of the parameters that is evaluated, from 0 to below 1. With 0
    the parameters themselves are evaluated."""
    ema_warmup: bool = True
    """Whether the decay of that average is at most t / (t + 9) after t steps, so that it soon forgets the initial
    weights. Otherwise it is `ema_decay` from the first step."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on. `auto` uses a GPU if one is assigned to the process, and otherwise the CPU."""
    sync_batch_norm: bool = True
    """Whether BatchNorm on several workers uses the statistics of the whole batch, as one process would, instead of
    those of each worker's own samples."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format within the network in training: bf16 by autocast, or fp32. Parameters, losses, centroids, averages
    and evaluation are in fp32 either way. `auto` uses bf16 for networks from 0.1 GFLOP per image on a GPU that computes
    in bf16 or a CPU with AMX; a CPU with AVX-512 alone multiplies in bf16 at half the rate of fp32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether to compile the network's forward and backward pass in training. Results are the same up to rounding.
    `auto` compiles with one worker or without `sync_batch_norm`, if a C++ compiler is found, and if the run is long
    enough: 100 TFLOP on a CPU (800 steps of wrn_28_2), 5000 steps on a GPU."""
    channels_last: bool = True
    """Whether images are stored with the channels of a pixel next to each other in memory."""
    num_threads: int = Field(1, ge=1)
    """Number of CPU threads of each training process, from 1."""
    checkpoint_interval_epochs: int = Field(1, ge=1)
    """Number of epochs between checkpoints, from 1."""
    checkpoint_interval_s: float | None = Field(None, gt=0)
    """Seconds, above 0, since the last checkpoint after which the end of an epoch saves another, even if
    `checkpoint_interval_epochs` have not passed. None: no such limit."""
    storage_path: str | None = None
    """Folder or URI (such as s3://, gs:// or hdfs://, as pyarrow and fsspec know them) that checkpoints are written to,
    with a subfolder for each run. None: the run's folder in the results."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        num_steps = self.num_epochs * self.steps_per_epoch
        if self.warmup_steps >= num_steps:
            got = f"warmup_steps={self.warmup_steps} with {num_steps} steps"
            remedy = "lower it, or raise num_epochs or steps_per_epoch"
            rule = "`warmup_steps < num_epochs * steps_per_epoch`"
            raise rule_error(rule, got, path="warmup_steps", remedy=remedy)
        return self
