"""The data of a run as MLflow's datasets: one for each split, with a digest by which equal splits are found."""

from __future__ import annotations

import hashlib
import json

from mlflow.entities import Dataset, DatasetInput, InputTag

from supercm_ray.errors import SuperCMError
from supercm_ray.records import RunRecord, StudyFolder, read_arrays
from supercm_ray.tracking.mlflow.describing import source_name

CONTEXTS = {"labeled": "train", "unlabeled": "unlabeled", "val": "val", "test": "test"}
"""What MLflow calls the use of each split."""
_DIGEST_LENGTH = 12


def datasets(folder: StudyFolder, record: RunRecord) -> dict[str, DatasetInput]:
    """Returns the datasets of a run by their use; those whose splits cannot be read, or are empty, are left out."""
    path = folder.run(record.key).splits
    try:
        fingerprint, arrays = folder.data_summary().fingerprint, read_arrays(path, "") if path.exists() else {}
    except SuperCMError:  # of a damaged file, which others tell
        return {}
    found = {}
    for split, use in CONTEXTS.items():
        if split in arrays and len(arrays[split]):
            content = f"{fingerprint} {use} ".encode() + arrays[split].astype("int64").tobytes()
            dataset = Dataset(
                name=str(record.params.get("data.name", "data")),
                digest=hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH],
                source_type="code",
                source=json.dumps({"tags": {"mlflow.source.name": source_name()}}),
                profile=json.dumps({"num_samples": len(arrays[split]), "fingerprint": fingerprint}),
            )
            found[use] = DatasetInput(dataset, [InputTag("mlflow.data.context", use)])
    return found
