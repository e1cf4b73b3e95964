"""Studies whose runs have accuracies of a known learning curve, and that curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from supercm_ray.config import Leaf, Study
from supercm_ray.records import DataSummary, RunRecord, StudyFolder, write_study
from supercm_ray.records.run_folder import Kind
from supercm_ray.search import TUNED, plan_finalists, save_plan

NUM_TRAINING, NUM_VAL = 1000, 60
KINDS: dict[str, Kind] = {"trials": "trial", "finalists": "finalist", "train": "train"}


def error_at(num_labels: float, asymptote: float = 0.02) -> float:
    return asymptote + 0.9 * num_labels**-0.5


def leave_study(folder: StudyFolder, study: Study, ratios: tuple[float, ...], *, tested: bool = True) -> None:
    """Leaves on disk what a tuned study leaves: a trial and its finalists for each label ratio."""
    write_study(folder.path, study)
    folder.write("data.json", DataSummary(counts={"labeled": 20, "unlabeled": NUM_TRAINING - 20}).to_json())
    finalists = plan_finalists(study, {(ratio,): {"data.label_ratio": ratio} for ratio in ratios})
    save_plan(folder, finalists)
    for i, ratio in enumerate(ratios):
        leave_run(folder, study, f"trials/{i:04}", ratio, 1 - error_at(NUM_TRAINING * ratio), {}, tested=False)
    for one in finalists:
        ratio = float(str(one.overrides["data.label_ratio"]))
        shift = 0.002 * (int(str(one.overrides["seed"])) - 1) - (0.1 if one.arm != TUNED else 0.0)
        leave_run(
            folder, study, one.key, ratio, 1 - error_at(NUM_TRAINING * ratio) + shift, one.overrides, tested=tested
        )


def leave_run(
    folder: StudyFolder,
    study: Study,
    key: str,
    ratio: float,
    accuracy: float,
    overrides: Mapping[str, Leaf],
    *,
    tested: bool,
) -> None:
    """Leaves a complete run; its validation accuracy is 0.01 above its accuracy on the test split."""
    overrides = {**overrides, "data.label_ratio": ratio}
    num_labeled = round(NUM_TRAINING * ratio)
    run = folder.run(key)
    record = RunRecord(
        key,
        KINDS[key.partition("/")[0]],
        overrides,
        study.base.replace(overrides).leaves(),
        num_labeled + NUM_VAL,
        labels={"arm": TUNED if TUNED in key else "baseline"},
        num_labeled=num_labeled,
    )
    run.path.mkdir(parents=True)
    np.savez(run.splits, test=np.arange(500), val=np.arange(500, 560))
    run.write(record.ended("complete", summary={"test/accuracy": accuracy} if tested else {}))
    run.append({"epoch": 1, "val/accuracy": accuracy + 0.01, "val/loss": 1.0})


def write_results(results: Path, study: Study, ratios: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)) -> StudyFolder:
    """Leaves a study of its own name in the results."""
    folder = StudyFolder.open(results, study.name, study.identity())
    leave_study(folder, study, ratios)
    return folder
