"""Features by which samples are chosen for labeling. Shapes: N samples, C channels, H by W pixels, D inputs and F
features of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from supercm_ray.data.dataset import Dataset
from supercm_ray.data.images import Pixels, StreamedImages

MOST_FEATURES = 50
_MOST_FITTED = 10_000
_MOST_VALUES = 2**24
"""Number of inputs of samples, 128 MiB in fp64, that principal components are computed from at most."""
_CHUNK = 1024

Floats = npt.NDArray[np.float64]


def choice_features(dataset: Dataset, samples: npt.NDArray[np.int64]) -> Floats:
    """Returns (N, F) the first principal components, 50 at most, of these samples' inputs, standardised as for
    training. Components are those of the first samples, which must be in random order, if there are many.

    Args:
        dataset: the data set, with its inputs in memory and the mean and standard deviation of the inputs.
        samples: (N,) their indices.
    """
    from sklearn.decomposition import PCA  # heavy, and needed for such choices alone

    inputs = (_standardised(block, dataset) for block in input_blocks(dataset, samples))
    num_fitted = min(_MOST_FITTED, max(_MOST_VALUES // int(np.prod(dataset.shape)), 2 * MOST_FEATURES))
    fitted = samples[:num_fitted]
    fitted_ND = np.concatenate([_standardised(block, dataset) for block in input_blocks(dataset, fitted)])
    num_features = min(MOST_FEATURES, *fitted_ND.shape)
    with np.errstate(invalid="ignore", divide="ignore"):  # no variance is divided by no variance
        found = PCA(num_features, random_state=0).fit(fitted_ND)
    return np.concatenate([(block - found.mean_) @ found.components_.T for block in inputs])


def input_blocks(dataset: Dataset, samples: npt.NDArray[np.int64]) -> Iterator[Pixels]:
    """Returns the inputs (B, C, H, W) of some of the samples after the other."""
    assert not isinstance(dataset.images, StreamedImages)
    for i in range(0, len(samples), _CHUNK):
        yield dataset.images[samples[i : i + _CHUNK]]


def _standardised(inputs: Pixels, dataset: Dataset) -> Floats:
    """Returns inputs (B, C, H, W) as (B, D), each channel by its mean and standard deviation."""
    mean_C, std_C = (np.array(values)[:, None, None] for values in (dataset.mean, dataset.std))
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    scaled: Floats = (inputs.astype(np.float64) / scale - mean_C) / std_C
    return scaled.reshape(len(inputs), -1)
