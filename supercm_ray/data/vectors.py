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
    mean, std = moments(inputs, np.arange(len(inputs)))
    constant = np.flatnonzero((inputs == inputs[:1]).all(axis=0))
    lost = np.setdiff1d(np.flatnonzero(std < _RESOLVED * np.abs(mean)), constant)
    faint = np.setdiff1d(np.flatnonzero(std < np.finfo(np.float32).tiny), constant)
    lost = np.setdiff1d(lost, faint)
    tiny = [f"feature {i} with standard deviation {std[i]:.3g}" for i in faint]
    examples = [f"feature {i} with mean {mean[i]:.6g} and standard deviation {std[i]:.3g}" for i in lost]
    return (
        *counted([f"feature {i}" for i in constant], f"{{}} features of {place} are constant"),
        *counted(tiny, f"{{}} features of {place} vary by less than fp32 can hold: multiply them"),
        *counted(examples, f"{{}} features of {place} vary too little around their mean for fp32: subtract the mean"),
    )


def moments(
    inputs: npt.NDArray[np.generic], samples: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Computes mean (D,) and standard deviation (D,) of each feature over these samples of vectors, (N, D) or (N, D, 1,
    1), in fp64, without an fp64 copy of all of them.
    """
    parts = [samples[i : i + _CHUNK] for i in range(0, len(samples), _CHUNK)]
    taken = [slice(part[0], part[-1] + 1) if part[-1] - part[0] + 1 == len(part) else part for part in parts]
    exact = (inputs[part].astype(np.float64).reshape(-1, inputs.shape[1]) for part in taken)
    mean = sum(values.sum(axis=0) for values in exact) / len(samples)
    exact = (inputs[part].astype(np.float64).reshape(-1, inputs.shape[1]) for part in taken)
    squares = sum(((values - mean) ** 2).sum(axis=0) for values in exact)
    return np.asarray(mean), np.sqrt(np.asarray(squares) / len(samples))
