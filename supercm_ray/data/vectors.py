"""Vectors of features in fp32, and notes about features that fp32 cannot resolve. Shapes: N samples, D features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from supercm_ray.data.reasons import counted
from supercm_ray.errors import StudyError

_RESOLVED = 1e-6
"""Standard deviation as a fraction of the mean below which fp32, with its 24 bits, loses what differs."""
_CHUNK = 4096


def to_vectors(
    inputs: npt.NDArray[np.generic], place: str, *, l2_normalise: bool
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Converts vectors (N, D) to (N, D, 1, 1) in fp32, and returns them with notes.

    Raises:
        StudyError: for values that are no numbers, or too large for fp32.
    """
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        vectors = inputs.astype(np.float32, copy=l2_normalise)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        bad = np.flatnonzero(~np.isfinite(vectors[broken[0]]))
        raise StudyError(
            f"every value must be a number of at most 3e38 for {place}, got {inputs[broken[0], bad[0]]} in feature "
            f"{bad[0]} of sample {broken[0]}, and such values in {len(broken)} samples; fill in or "
            "leave out these"
        )
    notes = _notes(inputs, place)
    if l2_normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors[:, :, None, None], notes


def _notes(inputs: npt.NDArray[np.generic], place: str) -> tuple[str, ...]:
    """Returns notes about features that are constant, or that vary too little to be seen in fp32."""
    if len(inputs) < 2:
        return ()
    mean, std = _moments(inputs)
    constant = np.flatnonzero((inputs == inputs[:1]).all(axis=0))
    lost = np.setdiff1d(np.flatnonzero(std < _RESOLVED * np.abs(mean)), constant)
    examples = [f"feature {i} with mean {mean[i]:.6g} and standard deviation {std[i]:.3g}" for i in lost]
    return (
        *counted([f"feature {i}" for i in constant], f"{{}} features of {place} are constant"),
        *counted(examples, f"{{}} features of {place} vary too little around their mean for fp32: subtract the mean"),
    )


def _moments(inputs: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Computes mean and standard deviation of each feature in fp64, without an fp64 copy of all samples."""
    parts = [slice(i, i + _CHUNK) for i in range(0, len(inputs), _CHUNK)]
    mean = sum(inputs[part].astype(np.float64).sum(axis=0) for part in parts) / len(inputs)
    squares = sum(((inputs[part].astype(np.float64) - mean) ** 2).sum(axis=0) for part in parts)
    return np.asarray(mean), np.sqrt(np.asarray(squares) / len(inputs))
