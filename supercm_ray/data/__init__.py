"""Data sets, splits, augmentation and batches."""

from supercm_ray.data import arrays as _arrays  # noqa: F401 (registers its data sets)
from supercm_ray.data import image_folder as _image_folder  # noqa: F401 (registers its data set)
from supercm_ray.data import randaugment as _randaugment  # noqa: F401 (registers its operations)
from supercm_ray.data import vision as _vision  # noqa: F401 (registers its data sets)
from supercm_ray.data.augment import strong_view, weak_view
from supercm_ray.data.batches import Batch, DeviceData, as_floats, draw_batch, epoch_indices, independent_indices
from supercm_ray.data.classes import check_classes
from supercm_ray.data.dataset import DATASETS, UNLABELED, Dataset, channel_statistics
from supercm_ray.data.draws import SampleDraws
from supercm_ray.data.inputs import read_inputs
from supercm_ray.data.label_choice import choice_notes, choose_labeled
from supercm_ray.data.loading import join_domains, load_dataset
from supercm_ray.data.overlap import check_overlap, fingerprint, sample_digests, samples_digest
from supercm_ray.data.splits import Splits
from supercm_ray.data.splitting import make_splits, split_dataset
from supercm_ray.data.standardise import spread_notes, standardised
from supercm_ray.data.strong import STRONG_VIEWS

__all__ = [
    "DATASETS",
    "STRONG_VIEWS",
    "UNLABELED",
    "Batch",
    "Dataset",
    "DeviceData",
    "SampleDraws",
    "Splits",
    "as_floats",
    "channel_statistics",
    "check_classes",
    "check_overlap",
    "choice_notes",
    "choose_labeled",
    "draw_batch",
    "epoch_indices",
    "fingerprint",
    "independent_indices",
    "join_domains",
    "load_dataset",
    "make_splits",
    "read_inputs",
    "sample_digests",
    "samples_digest",
    "split_dataset",
    "spread_notes",
    "standardised",
    "strong_view",
    "weak_view",
]
