"""SuperCM, learning from few labels by differentiable clustering, tuned with Ray, Optuna and MLflow.

The functions are loaded at first use, so that `supercm_ray.core` can be imported without Ray and MLflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supercm_ray.api import (
        ClusterOptions,
        Comparison,
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
        export,
        load_model,
        predict,
        report,
        scale,
        sync,
        train,
        tune,
    )
    from supercm_ray.config import ScalingConfig, load_study
    from supercm_ray.watching.verbs import cancel, logs, status

__all__ = [
    "ClusterOptions",
    "Comparison",
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
    "cancel",
    "compare",
    "doctor",
    "embed",
    "export",
    "load_model",
    "load_study",
    "logs",
    "predict",
    "report",
    "scale",
    "status",
    "sync",
    "train",
    "tune",
]

_LIGHT = ("cancel", "logs", "status")  # which need nothing of `api`


def __getattr__(name: str) -> object:
    if name == "load_study":
        from supercm_ray.config import load_study

        return load_study
    if name in __all__:
        import importlib

        place = "watching.verbs" if name in _LIGHT else "api"
        return getattr(importlib.import_module(f"supercm_ray.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
