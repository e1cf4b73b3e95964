"""SuperCM, learning from few labels by differentiable clustering, tuned with Ray, Optuna and MLflow.

The functions are loaded at first use, so that `supercm_ray.core` can be imported without Ray and MLflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supercm_ray.api import (
        ClusterOptions,
        Diagnosis,
        Embedded,
        Model,
        Predictions,
        PredictResult,
        Report,
        ScaleResult,
        TrainResult,
        TuneResult,
        compare,
        doctor,
        embed,
        load_model,
        predict,
        report,
        scale,
        sync,
        train,
        tune,
    )
    from supercm_ray.config import ScalingConfig, load_study

__all__ = [
    "ClusterOptions",
    "Diagnosis",
    "Embedded",
    "Model",
    "PredictResult",
    "Predictions",
    "Report",
    "ScaleResult",
    "ScalingConfig",
    "TrainResult",
    "TuneResult",
    "compare",
    "doctor",
    "embed",
    "load_model",
    "load_study",
    "predict",
    "report",
    "scale",
    "sync",
    "train",
    "tune",
]


def __getattr__(name: str) -> object:
    if name == "load_study":
        from supercm_ray.config import load_study

        return load_study
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("supercm_ray.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
