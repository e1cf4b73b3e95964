"""Scaling studies without Ray: laws, costs, simulation, and the raw figures that all of it is computed from."""

from supercm_ray.scaling.analysis import LEAST_COUNTS, PARTS, Analysis, Point, TuningPoint, analyse, throughput
from supercm_ray.scaling.censored import Attempt, TimeToTarget, target_sentence, time_to_target
from supercm_ray.scaling.cost import EFFICIENCY_FLOOR, Choice, Cost, choose, costs
from supercm_ray.scaling.host import this_host
from supercm_ray.scaling.law import LAWS, MEANINGS, PARAMETERS, TRUSTED_FACTOR, Fit, LawName, Prediction, fit, fit_laws
from supercm_ray.scaling.noise_scale import NoiseScale, noise_scale
from supercm_ray.scaling.plan import ScalingPlan, make_plan, schedule
from supercm_ray.scaling.raw import Host, Raw, Repetition, SimulationRequest, TargetRun, TuningRun, load_raw
from supercm_ray.scaling.raw_file import RawFile
from supercm_ray.scaling.simulate import Network, Reduction, Simulated, all_reduce_s, simulate
from supercm_ray.scaling.simulation import Simulation

__all__ = [
    "EFFICIENCY_FLOOR",
    "LAWS",
    "LEAST_COUNTS",
    "MEANINGS",
    "PARAMETERS",
    "PARTS",
    "TRUSTED_FACTOR",
    "Analysis",
    "Attempt",
    "Choice",
    "Cost",
    "Fit",
    "Host",
    "LawName",
    "Network",
    "NoiseScale",
    "Point",
    "Prediction",
    "Raw",
    "RawFile",
    "Reduction",
    "Repetition",
    "ScalingPlan",
    "Simulated",
    "Simulation",
    "SimulationRequest",
    "TargetRun",
    "TimeToTarget",
    "TuningPoint",
    "TuningRun",
    "all_reduce_s",
    "analyse",
    "choose",
    "costs",
    "fit",
    "fit_laws",
    "load_raw",
    "make_plan",
    "noise_scale",
    "schedule",
    "simulate",
    "target_sentence",
    "this_host",
    "throughput",
    "time_to_target",
]
