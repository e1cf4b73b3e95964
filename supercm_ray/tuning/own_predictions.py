"""Predictions for a study's own unlabeled samples, which are the result where there is no test split."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from supercm_ray.data import Dataset, Splits
from supercm_ray.errors import SuperCMError
from supercm_ray.inference import predict_to_file
from supercm_ray.records import StudyFolder
from supercm_ray.training import choose_device
from supercm_ray.tuning.found_run import FoundRun
from supercm_ray.tuning.model import model_of_run

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"
"""The file in the study's folder."""
_MADE_BY = "predictions.json"


def write_predictions(folder: StudyFolder, best_run: str | None, dataset: Dataset) -> Path | None:
    """Writes the predictions of the best finalist for the unlabeled training samples to the study's folder, and returns
    the file's path; None for a study that has a test split, no such finalist or no such samples. A file of the same
    finalist stays as it is.
    """
    record = folder.run(best_run).record() if best_run else None
    if record is None or folder.data_summary().has_test:
        return None
    found, path = FoundRun(folder, record), folder.path / PREDICTIONS
    splits = Splits.load(found.run.splits)
    indices = np.setdiff1d(splits.unlabeled, splits.labeled)
    if not len(indices):
        return None
    made_by = json.dumps({"run": record.key, "ended_ms": record.ended_ms, "num_samples": len(indices)})
    if path.is_file() and folder.read(_MADE_BY) == made_by:
        return path
    try:
        model = model_of_run(found).to(choose_device("auto"))
        predict_to_file(model, dataset, path, indices)
        folder.write(_MADE_BY, made_by)
    except (SuperCMError, OSError) as error:  # the study and its report are complete without it
        logger.warning("no predictions were written to %s: %s", path, error)
        return None
    return path
