"""The files of a study on disk, and the messages that they are written from."""

from supercm_ray.records.checkpoints import BEST, LAST, REFUSED, CheckpointStore
from supercm_ray.records.data_summary import DataSummary
from supercm_ray.records.files import (
    now_ms,
    read_text,
    replaced_atomically,
    sqlite_url,
    write_atomically,
)
from supercm_ray.records.messages import (
    Arrays,
    EpochMetrics,
    Message,
    Node,
    Ordered,
    Predictions,
    RunFailed,
    StepTimings,
    TimingMessage,
    TimingStarted,
)
from supercm_ray.records.run_folder import Kind, RunFolder, RunRecord, RunView, Status
from supercm_ray.records.study_folder import StudyFolder

__all__ = [
    "BEST",
    "LAST",
    "REFUSED",
    "Arrays",
    "CheckpointStore",
    "DataSummary",
    "EpochMetrics",
    "Kind",
    "Message",
    "Node",
    "Ordered",
    "Predictions",
    "RunFailed",
    "RunFolder",
    "RunRecord",
    "RunView",
    "Status",
    "StepTimings",
    "StudyFolder",
    "TimingMessage",
    "TimingStarted",
    "now_ms",
    "read_text",
    "replaced_atomically",
    "sqlite_url",
    "write_atomically",
]
