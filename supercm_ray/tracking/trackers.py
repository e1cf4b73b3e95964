"""The built-in trackers by name. Each tool is imported when its tracker is created."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from supercm_ray.config import Study, import_plugins
from supercm_ray.errors import StudyError, SuperCMError, TrackingError, nearest
from supercm_ray.records import StudyFolder
from supercm_ray.tracking.background import unusable
from supercm_ray.tracking.composite import CompositeTracker
from supercm_ray.tracking.null import NullTracker
from supercm_ray.tracking.tracker import TRACKERS, TrackedRun, Tracker

VARIABLE = "SUPERCM_TRACKING"
_MISREAD = re.compile(r"\?|%[0-9A-Fa-f]{2}|'.*\"|\".*'", re.DOTALL)  # what MLflow 3 misreads in the path of its files


@TRACKERS.register("mlflow")
def _mlflow(study: Study, folder: StudyFolder) -> Tracker:
    check_mlflow_folder()
    from supercm_ray.tracking.mlflow import MlflowTracker

    return MlflowTracker(study, folder)


@TRACKERS.register("tensorboard")
def _tensorboard(study: Study, folder: StudyFolder) -> Tracker:
    try:
        from supercm_ray.tracking.tensorboard import TensorBoardTracker
    except ImportError as error:
        raise TrackingError(
            f"the tracker `tensorboard` needs the package tensorboard, got: {error}; "
            "pip install 'supercm-ray[tensorboard]', or name another tracker"
        ) from error
    return TensorBoardTracker(study, folder)


@TRACKERS.register("none")
def _none(study: Study, folder: StudyFolder) -> Tracker:
    return NullTracker()


def check_mlflow_folder() -> None:
    """Checks that MLflow can store its files in the working directory, if it is to.

    Raises:
        TrackingError: if the directory's path has characters that it misreads.
    """
    found = _MISREAD.search(str(Path.cwd()))
    if found and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise TrackingError(
            f"the working directory must have a path that MLflow can read for its mlflow.db, got {found[0]!r} in "
            f"{str(Path.cwd())!r}; give the command in another one, set MLFLOW_TRACKING_URI, or set {VARIABLE}=none"
        )


def check_trackers(study: Study) -> None:
    """Checks that a study's trackers exist and can store their files, as far as that can be known without them.

    Raises:
        StudyError: for a name that is not registered.
        TrackingError: for a tracker that cannot be used.
    """
    if "mlflow" in tracker_names(study):
        check_mlflow_folder()


def mlflow_place(study: Study | None) -> str | None:
    """Returns the address, without credentials, of the MLflow that a study is tracked in, once it has answered; None if
    it is tracked elsewhere. A database that is not there yet is not made.

    Args:
        study: the study; None for what studies have by default.

    Raises:
        TrackingError: if MLflow cannot be used.
    """
    names = [os.environ.get(VARIABLE) or "mlflow"] if study is None else tracker_names(study)
    if "mlflow" not in names:
        return None
    check_mlflow_folder()
    from supercm_ray.tracking.mlflow.place import check_mlflow

    return check_mlflow()


def search_mlflow(condition: str) -> list[TrackedRun]:
    """Returns the trials, finalists and trained runs in MLflow's experiment that satisfy a filter, in MLflow's order.

    Args:
        condition: conditions in MLflow's language, joined by `and`.

    Raises:
        StudyError: if it is no filter.
        TrackingError: if MLflow cannot be used.
    """
    from supercm_ray.tracking.mlflow.found import search  # seconds of imports, for what asks MLflow alone

    return search(condition)


def log_comparison(
    name: str, note: str, *, compared: Mapping[str, str], metrics: Mapping[str, float], page: Path
) -> str:
    """Stores a comparison as a run of its own in MLflow's experiment, and returns how to open it.

    Args:
        name: the run's name.
        note: its description, Markdown.
        compared: what is compared, by letter.
        metrics: the differences by name.
        page: the file of the page.

    Raises:
        TrackingError: if MLflow cannot be used.
    """
    from supercm_ray.tracking.mlflow.comparison import log

    return log(name, note, compared, metrics, page)


def tracker_names(study: Study) -> tuple[str, ...]:
    """Returns the names of a study's trackers, each once: those in SUPERCM_TRACKING, or else the study's own.

    Raises:
        StudyError: for a name that is not registered, after the study's plug-ins were imported.
    """
    import_plugins(study.base.plugins)
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    place = VARIABLE if given else "tracking"
    names = tuple(dict.fromkeys(given or study.tracking)) or ("none",)
    for name in names:
        if name not in TRACKERS.names():
            where = "" if given else f" in {study.source}"
            raise StudyError(
                f"`{place}` must name known trackers{where}, got {name!r}; {nearest(name, TRACKERS.names())}"
            )
    return names


def make_tracker(study: Study, folder: StudyFolder) -> Tracker:
    """Creates the tracker of a study, which combines all that it names.

    Raises:
        StudyError: for a name that is not registered.
        TrackingError: for a tracker that cannot be used.
    """
    made = [_make(name, study, folder) for name in tracker_names(study)]
    return made[0] if len(made) == 1 else CompositeTracker(made)


def _make(name: str, study: Study, folder: StudyFolder) -> Tracker:
    try:
        return TRACKERS.find(name).make(study, folder)
    except SuperCMError:
        raise
    except Exception as error:  # a plug-in's tracker can raise anything
        raise unusable(f"`{name}`", error) from error
