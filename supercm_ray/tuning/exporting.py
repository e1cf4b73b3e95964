"""The command `export`: the runs of a study as a table, from its records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from supercm_ray.config import Leaf, Study
from supercm_ray.errors import StudyError
from supercm_ray.records import RunView, StudyFolder, find_study, read_study, write_atomically

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json", "parquet")
"""The forms of a table that `export` knows."""

Cells: TypeAlias = dict[str, Leaf | list[Leaf]]


def export(named: str | Path, results: Path, output: Path | None, form: str, *, epochs: bool) -> str:
    """Writes or returns a study's runs as a table (see `supercm_ray.export`)."""
    chosen = _form(output, form)
    folder = StudyFolder.existing(find_study(named, results, to="export"))
    frame = runs_frame(read_study(folder.path), folder.views(), epochs=epochs)
    if chosen == "parquet":
        assert output is not None
        write_atomically(output, frame.to_parquet(index=False))
        return ""
    text = frame.to_csv(index=False) if chosen == "csv" else _json(frame)
    if output is None:
        return text
    write_atomically(output, text)
    return ""


def runs_frame(study: Study, views: Iterable[RunView], *, epochs: bool = False) -> pd.DataFrame:
    """Returns the runs of a study as a table, a row for each run or, if `epochs`, for each of its epochs.

    Args:
        study: the study.
        views: its runs.
        epochs: whether every epoch is a row, rather than the last with the metrics of the whole run.
    """
    import pandas as pd  # half a second of imports

    return pd.DataFrame([row for view in views for row in _rows(study, view, epochs=epochs)])


def _rows(study: Study, view: RunView, *, epochs: bool) -> Iterator[Cells]:
    record = view.record
    about: Cells = {
        "run": record.key,
        "kind": record.kind,
        "status": record.status,
        "reason": record.reason,
        "arm": record.labels.get("arm"),
        "seed": record.params["seed"],
        "num_labeled": record.num_labeled,
        "label_budget": record.label_budget,
        "started_ms": record.started_ms,
        "seconds": None if record.ended_ms is None else (record.ended_ms - record.started_ms) / 1000,
        **{path: _plain(record.params.get(path)) for path in study.varied_paths},
    }
    if epochs:
        yield from ({**about, **metrics} for metrics in view.history)
        return
    last = {name: value for name, value in view.metrics.items() if name != "timestamp_ms"}
    yield {**about, **last, **record.summary}


def _plain(value: Leaf | list[Leaf]) -> Leaf:
    """Returns a value that a cell can hold: lists as text."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _form(output: Path | None, form: str) -> str:
    """Returns the form that is asked for, or that the name of the file ends with.

    Raises:
        StudyError: for an unknown one, and for parquet without a file.
    """
    wanted = form or (output.suffix[1:] if output is not None else "csv")
    if wanted not in FORMATS:
        got = f"--format {form}" if form else str(output)
        raise StudyError(f"the format of a table must be one of {', '.join(FORMATS)}, got {got}; give --format")
    if wanted == "parquet" and output is None:
        raise StudyError("a parquet table must go to a file, got none; give --output, such as --output runs.parquet")
    if output is not None and not output.resolve().parent.is_dir():
        raise StudyError(f"the folder of --output must be there, got {output}; make it, or name another")
    return wanted


def _json(frame: pd.DataFrame) -> str:
    return str(frame.to_json(orient="records", indent=1)) + "\n"
