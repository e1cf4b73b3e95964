"""The data of a run as MLflow's datasets: one for each split, with a digest by which equal splits are found."""

from __future__ import annotations

import json

from mlflow.entities import Dataset, DatasetInput, InputTag

from supercm_ray.records import RunRecord, StudyFolder, split_digests
from supercm_ray.tracking.mlflow.describing import source_name


def datasets(folder: StudyFolder, record: RunRecord) -> dict[str, DatasetInput]:
    """Returns the datasets of a run by their use; those whose splits cannot be read, or are empty, are left out."""
    found = {}
    for use, split in split_digests(folder, record).items():
        dataset = Dataset(
            name=str(record.params.get("data.name", "data")),
            digest=split.digest,
            source_type="code",
            source=json.dumps({"tags": {"mlflow.source.name": source_name()}}),
            profile=json.dumps({"num_samples": split.num_samples, "samples_digest": split.data}),
        )
        found[use] = DatasetInput(dataset, [InputTag("mlflow.data.context", use)])
    return found
