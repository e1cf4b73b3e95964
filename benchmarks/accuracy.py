"""The accuracy table: baselines, SuperCM as published and ours, and algorithms without and with it, each searched with
the same budget on several splits of the data.

    python benchmarks/accuracy.py --processes 2           # all rows that need no GPU; resumes what was begun
    python benchmarks/accuracy.py --only digits/vat/4     # one row
    python benchmarks/accuracy.py --only digits/vat/4 --again     # the same, although it is done
    python benchmarks/accuracy.py --list
    python benchmarks/accuracy.py --table                 # writes the documents from the JSON, and runs nothing

Parameters are chosen on validation samples, or by a metric that needs no label of the target. Data sets are read from
SUPERCM_DATA. Each row is written to `benchmarks/results/accuracy.json`, the README and `docs/evidence.md` as soon as it
is done; a row that was interrupted goes on with the study that it was in.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from accuracy_rows import ARMS, Row, rows
from accuracy_table import write_documents
from provenance import processor

from supercm_ray import tune
from supercm_ray.api import TuneResult
from supercm_ray.errors import InterruptedStudyError, SuperCMError
from supercm_ray.records import RunRecord, write_atomically
from supercm_ray.reporting.tables import mean_std

ROOT = Path(__file__).parents[1]
JSON = ROOT / "benchmarks" / "results" / "accuracy.json"
WORK = Path("results") / "benchmark-accuracy"
COMMAND = "python benchmarks/accuracy.py"
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


def main(words: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for, and returns the exit status."""
    asked = _parser().parse_args(words)
    if asked.table:
        with _alone(asked.json):
            _write(_read(asked.json), asked.json, asked.documents)
        return 0
    chosen = _chosen(asked.only)
    if asked.list:
        print("\n".join(row.key for row in chosen))
        return 0
    if not chosen:
        print(f"--only must begin the name of a row, got {asked.only!r}; see --list", file=sys.stderr)
        return 2
    if asked.processes > 1:
        return _in_parallel(asked)
    try:
        mine = chosen[asked.share[0] :: asked.share[1]]
        return min(1, run(mine, asked.work, asked.json, asked.documents, again=asked.again))
    except SuperCMError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def run(chosen: Sequence[Row], work: Path, path: Path, documents: Path, *, again: bool = False) -> int:
    """Runs the rows that the JSON does not hold yet, and writes each to JSON and documents when it is done. `again`
    runs all of them, in a folder of its own within `work`.

    Returns:
        The number of rows that failed; each is printed with its reason, and the others are run.
    """
    failed = 0
    done = _read(path)["rows"]
    left = [row for row in chosen if again or not _is_done(row, done.get(row.key))]
    if not left:
        print(f"nothing to run, {len(chosen)} rows are done; --again runs them anew", flush=True)
        return failed
    if again:
        work = Path(tempfile.mkdtemp(prefix="again-", dir=_made(work)))
    for i, row in enumerate(left, start=1):
        started = time.monotonic()
        try:
            splits = [_split(row, split, work) for split in range(row.suite.num_splits)]
            _put(row, splits, path, documents)
        except InterruptedStudyError:
            raise
        except SuperCMError as error:
            print(f"{row.key}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        found = mean_std([accuracy for split in splits for accuracy in split["test_accuracy"].values()])
        print(f"{i}/{len(left)} {row.key}: {found} %, {time.monotonic() - started:.0f} s", flush=True)
    return failed


def _split(row: Row, split: int, work: Path) -> dict[str, Any]:
    """Runs the study of a split, or what is left of it."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        return _metrics(tune(row.study(split), results=work, plots=False, executor="in-process"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", metavar="NAME", help="the row of this name, or rows whose name begins so; without it all but cifar10"
    )
    parser.add_argument("--again", action="store_true", help="run rows that are done as well, from the start")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    parser.add_argument("--processes", type=int, default=1, help="rows at once, each with one CPU")
    parser.add_argument("--work", type=Path, default=WORK, help=f"folder of the studies, {WORK} by default")
    parser.add_argument("--json", type=Path, default=JSON, help="file of the results")
    parser.add_argument("--documents", type=Path, default=ROOT, help="folder of README.md and docs/evidence.md")
    parser.add_argument("--table", action="store_true", help="write the documents from the JSON and end")
    parser.add_argument("--share", type=_share, default=(0, 1), help=argparse.SUPPRESS)
    return parser


def _share(text: str) -> tuple[int, int]:
    """Parses `2/3`, the third of every three rows."""
    first, every = text.split("/")
    return int(first), int(every)


def _chosen(only: str | None) -> list[Row]:
    """Returns the row with this name, or those whose names begin so; without a name those that need no GPU."""
    if not only:
        return [row for row in rows() if not row.suite.gpus_per_trial]
    exact = [row for row in rows() if row.key == only]
    return exact or [row for row in rows() if row.key.startswith(only)]


def _in_parallel(asked: argparse.Namespace) -> int:
    """Runs the rows in several processes, each with one thread."""
    words = ["--work", asked.work, "--json", asked.json, "--documents", asked.documents]
    words += ["--only", asked.only] if asked.only else []
    words += ["--again"] if asked.again else []
    started = [
        subprocess.Popen([sys.executable, __file__, *map(str, words), "--share", f"{i}/{asked.processes}"])
        for i in range(asked.processes)
    ]
    return max(process.wait() for process in started)


def _is_done(row: Row, known: dict[str, Any] | None) -> bool:
    """Returns whether the JSON has the row as it would be run now."""
    return known is not None and known["fingerprint"] == row.fingerprint


def _metrics(result: TuneResult) -> dict[str, Any]:
    """Returns what the JSON says of a split."""
    (row,) = result.rows
    folder = result.folder
    finalists = [record for record in folder.runs("finalist") if record.status == "complete"]
    histories = [folder.run(record.key).history() for record in finalists]
    trials = folder.runs("trial")
    return {
        "chosen": row.overrides,
        "labels": row.label_budget,
        "test_accuracy": {str(record.params["seed"]): record.summary["test/accuracy"] for record in finalists},
        "failed_seeds": result.failed_finalists,
        "val_accuracy_by_epoch": [statistics.fmean(values) for values in _columns(histories, "val/accuracy")],
        "seconds": sum(_seconds(record) for record in (*trials, *finalists)),
        "trials": [_trial(record, folder.run(record.key).history()) for record in trials],
    }


def _columns(histories: Sequence[Sequence[dict[str, float]]], name: str) -> Iterator[tuple[float, ...]]:
    """Yields a metric of all runs, an epoch after the other."""
    return zip(*([metrics[name] for metrics in history] for history in histories), strict=False)


def _trial(record: RunRecord, history: list[dict[str, float]]) -> dict[str, Any]:
    last = history[-1] if history else {}
    kept = {name: value for name, value in last.items() if name.startswith(("val/", "target/", "oracle/"))}
    return {"overrides": record.overrides, "status": record.status, "epochs": len(history), **kept}


def _seconds(record: RunRecord) -> float:
    return ((record.ended_ms or record.started_ms) - record.started_ms) / 1000


def _put(row: Row, splits: Sequence[dict[str, Any]], path: Path, documents: Path) -> None:
    """Adds a row to the JSON and rewrites the documents, one process at a time."""
    study, suite = row.study(0), row.suite
    entry = {
        "command": f"{COMMAND} --only {row.key}",
        "commit": _commit(),
        "fingerprint": row.fingerprint,
        "suite": suite.title,
        "arm": ARMS[row.arm].title,
        "labels_per_class": row.labels_per_class,
        "selected_by": study.primary.metric,
        "search": {
            "num_trials": study.budget.num_trials,
            "scheduler": study.scheduler.model_dump(),
            "num_epochs": study.base.training.num_epochs,
            "steps_per_epoch": study.base.training.steps_per_epoch,
        },
        "load": os.getloadavg()[0],
        "splits": list(splits),
    }
    with _alone(path):
        tree = _read(path)
        known = {**tree["rows"], row.key: entry}
        order = [other.key for other in rows()]
        _write({**_place(), "rows": {key: known[key] for key in order if key in known}}, path, documents)


def _write(tree: dict[str, Any], path: Path, documents: Path) -> None:
    """Writes the JSON, in which each row names the rows that it is compared with, and the documents."""
    for row in rows():
        if row.key in tree["rows"]:
            tree["rows"][row.key] |= {"against": row.against, "alone": row.alone}
    write_atomically(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    write_documents(tree, documents)


def _read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": {}}
    return tree


def _place() -> dict[str, Any]:
    """Returns the hardware and software that the rows were made with."""
    return {
        "command": COMMAND,
        "hardware": {"cpu": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _commit() -> str:
    """Returns the commit of the code, with a `+` if tracked files differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with (_made(path.parent) / f".{path.name}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
