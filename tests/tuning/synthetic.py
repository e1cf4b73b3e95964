"""A synthetic study on disk, as realistic as a real one, written without training anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supercm_ray.config import DataConfig, Study
from supercm_ray.data import load_dataset, make_splits
from supercm_ray.records import Kind, RunRecord, Status, StudyFolder
from supercm_ray.search import BASELINE, Finalist, StudyView, TrialSource

DIGITS = Path(__file__).parents[2] / "search_spaces" / "digits.yaml"
HOSTILE = "<script>alert('x')</script> & \"quotes\""


@dataclass
class Maker:
    """Writes the runs of a study."""

    study: Study
    folder: StudyFolder
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.labels = load_dataset(DataConfig(label_ratio=0.1)).labels

    def trials(self, num: int = 24, status_of: Callable[[int], Status] | None = None) -> Maker:
        """Trials as the search would have left them, in Optuna and as records."""
        source = TrialSource(self.study, self.folder, [])
        for _ in range(num):
            trial = source.next()
            assert trial is not None
            status = status_of(trial.number) if status_of else self._status(trial.number)
            epochs = {"complete": 20, "pruned": 3, "failed": 0, "running": 5}[status]
            reason = {"pruned": "stopped early after epoch 3 of 20", "failed": HOSTILE}.get(status, "")
            key = f"trials/{trial.number:04d}"
            self.run(key, "trial", trial.params, epochs, status, reason=reason)
            view = self.folder.run(key).view()
            assert view is not None
            source.tell(view)
        return self

    def planned(self) -> list[Finalist]:
        """The finalists that the trials have come to."""
        return StudyView.read(self.study, self.folder).plan

    def finalists(self, gain: float = 0.06, keep: Callable[[Finalist], bool] = lambda _: True) -> Maker:
        """Finalists that came to their end, the baseline worse by about `gain` on the test split."""
        for finalist in filter(keep, self.planned()):
            shift = -gain if finalist.arm == BASELINE else 0.0
            self.run(finalist.key, "finalist", finalist.overrides, 20, labels=finalist.labels, shift=shift)
        return self

    def run(
        self, key: str, kind: Kind, overrides: dict[str, Any], epochs: int, status: Status = "complete", **more: Any
    ) -> None:
        """One run with its metrics and splits, and its test predictions if it is a finalist."""
        config = self.study.base.replace(overrides)
        run, splits = self.folder.run(key), make_splits(self.labels, config.data, config.seed)
        run.path.mkdir(parents=True)
        splits.save(run.splits)
        group = self._accuracy(overrides) + more.pop("shift", 0.0)
        for epoch in range(1, epochs + 1):
            val = group * (1 - 0.5 * math.exp(-epoch / 4))
            metrics = {"epoch": epoch, "train/loss": 2 / epoch, "val/accuracy": val, "val/loss": 1 - val}
            metrics |= {"val/balanced_accuracy": val - 0.02, "val/f1_macro": val - 0.03, "val/ece": 0.1 * (1 - val)}
            run.append({**metrics, "epoch_seconds": 0.4})
        summary = {}
        if kind == "finalist":
            summary = self._predictions(run.test_predictions, group - 0.01 + 0.01 * self.rng.standard_normal())
        record = RunRecord(
            key=key,
            kind=kind,
            overrides=overrides,
            params=config.leaves(),
            label_budget=splits.label_budget,
            num_labeled=len(splits.labeled),
            labels=more.pop("labels", {}),
            started_ms=1_700_000_000_000,
        )
        run.write(record if status == "running" else record.ended(status, more.get("reason", ""), summary))

    def _status(self, number: int) -> Status:
        return "failed" if number in (7, 15) else "pruned" if number % 5 > 2 else "complete"

    def _accuracy(self, overrides: dict[str, Any]) -> float:
        weight = max(-1.5, math.log10(overrides.get("algorithm.clustering_weight", 1.0) + 1e-3))
        rate = math.log10(overrides.get("training.learning_rate", 1e-3)) + 2.7
        base = 0.84 + 0.055 * math.log10(overrides.get("data.label_ratio", 0.02) / 0.01)
        return float(min(0.99, base - 0.03 * weight**2 - 0.09 * rate**2 + 0.012 * self.rng.standard_normal()))

    def _predictions(self, path: Path, accuracy: float) -> dict[str, float]:
        centroids = 4 * self.rng.standard_normal((10, 64)).astype(np.float32)
        labels = self.rng.integers(0, 10, 449)
        wrong = self.rng.random(449) > accuracy
        predictions = np.where(wrong, (labels + self.rng.integers(1, 4, 449)) % 10, labels)
        middle = np.where(wrong[:, None], (centroids[labels] + centroids[predictions]) / 2, centroids[labels])
        confusion = np.zeros((10, 10), dtype=np.int64)
        np.add.at(confusion, (labels, predictions), 1)
        features = (middle + 1.3 * self.rng.standard_normal((449, 64))).astype(np.float32)
        np.savez_compressed(
            path,
            confusion=confusion,
            features=features,
            labels=labels,
            predictions=predictions,
            centroids=centroids,
            seen=np.arange(10) != 9,
            val_confusion=confusion // 2,
        )
        test = float((labels == predictions).mean())
        return {"test/accuracy": test, "test/loss": 0.5, "test/balanced_accuracy": test - 0.01, "test/ece": 0.05}
