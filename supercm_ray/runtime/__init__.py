"""Ray: the only room that imports it."""

from supercm_ray.runtime import tuning
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.interrupt import check_interrupt, interruptible
from supercm_ray.runtime.jobs import job_of, keep_outcome, run_job
from supercm_ray.runtime.recording import Listener, Recorder, Silent
from supercm_ray.runtime.scaling import ScalingRun

__all__ = [
    "Listener",
    "Recorder",
    "ScalingRun",
    "Silent",
    "check_interrupt",
    "interruptible",
    "job_of",
    "keep_outcome",
    "ray_session",
    "run_job",
    "tuning",
]
