"""Digests of the splits of a run, by which equal splits are found wherever they were made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from supercm_ray.errors import SuperCMError
from supercm_ray.records.files import read_arrays
from supercm_ray.records.run_folder import RunRecord
from supercm_ray.records.study_folder import StudyFolder

USES = {"labeled": "train", "unlabeled": "unlabeled", "val": "val", "test": "test"}
"""What the samples of each split are used for, in the words of trackers."""
_LENGTH = 12


@dataclass(frozen=True)
class SplitDigest:
    """One split of a run.

    Attributes:
        digest: equal for the same samples of the same data in the same order.
        num_samples: number of samples.
        data: the digest of the data that the samples are of.
    """

    digest: str
    num_samples: int
    data: str


def split_digests(folder: StudyFolder, record: RunRecord) -> dict[str, SplitDigest]:
    """Returns the splits of a run by their use; those that cannot be read, or are empty, are left out."""
    path = folder.run(record.key).splits
    try:
        summary, arrays = folder.data_summary(), read_arrays(path, "") if path.exists() else {}
    except SuperCMError:  # of a damaged file, which others tell
        return {}
    data, found = summary.samples_digest or summary.fingerprint, {}
    for split, use in USES.items():
        if split in arrays and len(arrays[split]):
            content = f"{data} {use} ".encode() + arrays[split].astype("int64").tobytes()
            digest = hashlib.sha256(content).hexdigest()[:_LENGTH]
            found[use] = SplitDigest(digest, len(arrays[split]), data)
    return found
