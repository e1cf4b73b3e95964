"""Ray: the only room that imports it."""

from supercm_ray.runtime.cluster import ray_session
from supercm_ray.runtime.jobs import job_of, record_predictions, run_job

__all__ = ["job_of", "ray_session", "record_predictions", "run_job"]
