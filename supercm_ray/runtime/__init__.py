"""Ray: the only room that imports it."""

from supercm_ray.runtime import tuning
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.interrupt import check_interrupt, interruptible
from supercm_ray.runtime.recording import Listener, Recorder, Silent
from supercm_ray.runtime.trainable import Run

__all__ = ["Listener", "Recorder", "Run", "Silent", "check_interrupt", "interruptible", "ray_session", "tuning"]
