"""Data sets, splits, augmentation and batches."""

from supercm_ray.data import arrays as _arrays  # noqa: F401 (registers its data sets)
from supercm_ray.data import vision as _vision  # noqa: F401 (registers its data sets)
from supercm_ray.data.augment import SampleDraws, strong_view, weak_view
from supercm_ray.data.batches import Batch, DeviceData, as_floats, draw_batch, epoch_indices
from supercm_ray.data.dataset import DATASETS, HIDDEN_LABEL, Dataset, channel_statistics, join_domains, load_dataset
from supercm_ray.data.inputs import read_inputs
from supercm_ray.data.splits import Splits, make_splits, split_dataset

__all__ = [
    "DATASETS",
    "HIDDEN_LABEL",
    "Batch",
    "Dataset",
    "DeviceData",
    "SampleDraws",
    "Splits",
    "as_floats",
    "channel_statistics",
    "draw_batch",
    "epoch_indices",
    "join_domains",
    "load_dataset",
    "make_splits",
    "read_inputs",
    "split_dataset",
    "strong_view",
    "weak_view",
]
