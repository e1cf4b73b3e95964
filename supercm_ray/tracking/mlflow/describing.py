"""How MLflow names and describes a run: what its own pages show beside parameters and metrics."""

from __future__ import annotations

import getpass
import json
import sys

from mlflow.entities import SourceType

from supercm_ray.config import Leaf, Study
from supercm_ray.credentials import without_credentials
from supercm_ray.records import RunRecord
from supercm_ray.tracking.provenance import provenance

NAME_LENGTH = 20
"""Number of characters of a run's name that MLflow shows in its table and in legends."""


def provenance_tags() -> dict[str, str]:
    """Returns tags that identify who and what made a run, those of MLflow's own among them."""
    found = provenance()
    tags = {f"supercm.version.{name}": value for name, value in found.versions.items()}
    tags |= {"mlflow.user": _user(), "mlflow.source.name": source_name()}
    tags["mlflow.source.type"] = SourceType.to_string(SourceType.LOCAL)
    if found.commit:
        tags |= {"mlflow.source.git.commit": found.commit, "supercm.git_dirty": str(found.dirty).lower()}
    return tags


def source_name() -> str:
    """Returns the program that was started, without what may be secret in its path."""
    return without_credentials(sys.argv[0] if sys.argv and sys.argv[0] else "<console>")


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # of a user id without a name, as in containers
        return "unknown"


def run_name(record: RunRecord, study: Study) -> str:
    """Returns a name that tells a run apart from the others of its study within NAME_LENGTH characters: a trial's
    number and searched values, or the arm, group and seed of a run on a fresh seed.
    """
    tail = record.key.split("/", 1)[-1]
    if record.kind == "trial":
        values = [_brief(record.overrides[path]) for path in study.space if path in record.overrides]
        return " ".join((tail, *values))[:NAME_LENGTH].rstrip()
    if record.kind in ("candidate", "finalist") and "arm" in record.labels:
        group = record.labels.get("group", [])
        values = [_brief(value) for value in (group if isinstance(group, list) else [group])]
        seed = f"s{record.params.get('seed', '')}"
        name = " ".join((str(record.labels["arm"]), *values, seed))
        if len(name) <= NAME_LENGTH and record.kind == "finalist":  # of candidates several are alike in these
            return name
        return f"{record.labels['arm']}"[: NAME_LENGTH - len(seed) - 8] + f" {seed} {tail[-6:]}"  # a digest ends keys
    return tail


def _brief(value: Leaf) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def spelled(value: object) -> str:
    """Returns a value as a parameter's text, the same before and after it was stored as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list | dict) else str(value)


def parsed(text: str) -> Leaf:
    """Returns the value that `spelled` made this text of, as far as it can be told: text that looks like a number, a
    list, or Python's True, False or None is read as that.
    """
    constants: dict[str, Leaf] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    try:
        value = json.loads(text)
    except ValueError:
        return text
    found: Leaf = tuple(value) if isinstance(value, list) else value
    return found


def best_epoch(study: Study, history: list[dict[str, float]]) -> dict[str, float]:
    """Returns the epoch with the best primary objective: `best/epoch`, and its metrics of the validation split as
    `best/val/...`; empty if no epoch has the objective.
    """
    sign = 1 if study.primary.direction == "maximize" else -1
    known = [one for one in history if study.primary.metric in one]
    if not known:
        return {}
    best = max(known, key=lambda one: sign * one[study.primary.metric])
    found = {f"best/{name}": value for name, value in best.items() if name.startswith("val/")}
    return {**found, "best/epoch": best["epoch"]}


def shared_view(study: Study, study_id: str) -> str:
    """Returns a view of MLflow's table of runs, in the form of MLflow's `Share`: this study's trials and finalists
    alone, the best first, with the varied parameters and what was reached.
    """
    better = study.primary.direction == "maximize"
    searched = [f"params.`{path}`" for path in study.varied_paths]
    metrics = [f"metrics.`{name}`" for name in (f"best/{study.primary.metric}", study.primary.metric, "test/accuracy")]
    return json.dumps(
        {
            "searchFilter": f"tags.`supercm.study_id` = '{study_id}' and tags.`supercm.kind` != 'study'",
            "orderByKey": metrics[0],
            "orderByAsc": not better,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": list(dict.fromkeys([*searched, *metrics, "tags.`supercm.status`"])),
            "runsExpanded": {},
            "runsPinned": [],
            "runsHidden": [],
            "compareRunCharts": None,
            "viewMaximized": False,
            "runListHidden": False,
        }
    )
