"""The files of a study on disk, and the messages that they are written from."""

from supercm_ray.records.checkpoints import BEST, LAST, REFUSED, CheckpointStore
from supercm_ray.records.data_summary import DataSummary
from supercm_ray.records.files import (
    check_writable,
    damaged,
    now_ms,
    read_arrays,
    read_text,
    read_tree,
    reading,
    reason_of,
    replaced_atomically,
    sqlite_url,
    write_arrays,
    write_atomically,
    writing,
)
from supercm_ray.records.finding import find_studies, find_study
from supercm_ray.records.messages import (
    Arrays,
    Checkpoints,
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
from supercm_ray.records.session import Session, SessionNode, this_machine
from supercm_ray.records.split_digests import SplitDigest, split_digests
from supercm_ray.records.study_file import read_study, write_study
from supercm_ray.records.study_folder import Marker, StudyFolder
from supercm_ray.records.study_log import LogEntry

__all__ = [
    "BEST",
    "LAST",
    "REFUSED",
    "Arrays",
    "CheckpointStore",
    "Checkpoints",
    "DataSummary",
    "EpochMetrics",
    "Kind",
    "LogEntry",
    "Marker",
    "Message",
    "Node",
    "Ordered",
    "Predictions",
    "RunFailed",
    "RunFolder",
    "RunRecord",
    "RunView",
    "Session",
    "SessionNode",
    "SplitDigest",
    "Status",
    "StepTimings",
    "StudyFolder",
    "TimingMessage",
    "TimingStarted",
    "check_writable",
    "damaged",
    "find_studies",
    "find_study",
    "now_ms",
    "read_arrays",
    "read_study",
    "read_text",
    "read_tree",
    "reading",
    "reason_of",
    "replaced_atomically",
    "split_digests",
    "sqlite_url",
    "this_machine",
    "write_arrays",
    "write_atomically",
    "write_study",
    "writing",
]
