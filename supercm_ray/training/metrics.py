"""Metrics of predictions beside accuracy and loss. Shapes: N samples, K classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_NUM_BINS = 15

Classes = npt.NDArray[np.int64]


def balanced_accuracy_and_f1(labels_N: Classes, predictions_N: Classes) -> tuple[float, float]:
    """Computes balanced accuracy, the mean recall of the classes that have a sample, and macro F1, the mean F1 of the
    classes that have a sample or a prediction.
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes a second, which commands need not wait for

    _, recall, f1, support = precision_recall_fscore_support(labels_N, predictions_N, average=None, zero_division=0)
    return float(recall[support > 0].mean()), float(f1.mean())


def calibration_error(confidence_N: npt.NDArray[np.floating], correct_N: npt.NDArray[np.bool_]) -> float:
    """Computes the expected calibration error: the mean over samples of the distance between accuracy and mean
    confidence, the probability of the predicted class, within a sample's bin, one of 15 of equal width in [0, 1].
    Source: Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599).
    """
    confidence_N = confidence_N.clip(0.0, 1.0)  # which rounding may exceed
    gaps, _ = np.histogram(confidence_N, bins=_NUM_BINS, range=(0.0, 1.0), weights=correct_N - confidence_N)
    return float(np.abs(gaps).sum() / len(confidence_N))
