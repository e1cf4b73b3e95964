"""Ray: the only room that imports it."""

from supercm_ray.runtime import tuning
from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.interrupt import sigterm_as_interrupt
from supercm_ray.runtime.recording import Listener, Recorder, Silent
from supercm_ray.runtime.trainable import Run
from supercm_ray.runtime.tuning import check_data

__all__ = ["Listener", "Recorder", "Run", "Silent", "check_data", "ray_session", "sigterm_as_interrupt", "tuning"]
