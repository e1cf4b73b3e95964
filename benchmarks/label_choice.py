"""Whether samples that `data.label_choice` chooses are worth more labels than random ones.

    python benchmarks/label_choice.py --out benchmarks/results/label_choice.json

On each data set, with 1 and 4 labels a class in all, over seeds that decide the splits as well: the test accuracy of
quick classifiers of the labeled samples. `random` is what the project draws, as many of each class, for which labels
must be known beforehand; `plain_random` draws among all samples, as an annotator could; `typical` and `coverage` are
the choices. Classifiers see principal components of the inputs; `spreading` (label spreading over nearest neighbours)
uses some unlabeled samples too. Differences are paired by seed, and their p-values corrected for the number of tests.
With `--supercm SEEDS`, networks are trained as well, with and without the clustering loss, on digits with 1 label a
class.

`chosen_by` in the result names the data sets on which the constants of `coverage` and the number of starts of `typical`
were set; the others were not looked at before. Images need `SUPERCM_DATA`; data that are not there are left out and
named. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading

from supercm_ray.config import Config
from supercm_ray.data import Dataset, Splits, load_dataset, split_dataset, standardised
from supercm_ray.errors import StudyError
from supercm_ray.records import Predictions
from supercm_ray.reporting.significance import corrected_all, difference
from supercm_ray.training import Job, train_job

ROOT = Path(__file__).resolve().parents[1]
_OFFICE = {"name": "arrays", "standardise": "on"}
_KEYS = {"input_key": "fts", "label_key": "labels", "first_label": 1}


def _features(domain: str) -> dict[str, Any]:
    return {**_OFFICE, "options": {"file": f"OfficeCaltech10/features/GoogleNet1024_{domain}.mat", **_KEYS}}


DATA: dict[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "amazon_features": _features("amazon"),
    "mnist": {"name": "mnist", "num_val": 500},
    "usps": {"name": "usps", "num_val": 200},
    "fashion_mnist": {"name": "fashion_mnist", "num_val": 500},
    "webcam_features": _features("webcam"),
}
CHOSEN_BY = ["digits", "amazon_features", "mnist"]
ARMS = ("random", "plain_random", "typical", "coverage")
RANDOM = ARMS[:2]
COUNTS = (1, 4)
_NUM_UNLABELED = 2000
_NUM_TESTED = 2000
Accuracies = dict[str, dict[str, dict[int, float]]]
"""Accuracy by measure, arm and seed."""


def splits_of(dataset: Dataset, data: dict[str, Any], count: int, arm: str, seed: int) -> tuple[Config, Splits]:
    """Returns the configuration and the splits of an arm; all arms of a seed have the same training samples."""
    choice = "random" if arm in RANDOM else arm
    keys = {**data, "labels_per_class": count, "label_choice": choice, "split_seed": seed}
    config = Config.model_validate({"seed": seed, "data": keys})
    splits = split_dataset(dataset, config)
    if arm == "plain_random":
        labeled = np.sort(np.random.default_rng((seed, 4)).permutation(splits.training)[: len(splits.labeled)])
        splits = replace(splits, labeled=labeled, unlabeled=np.setdiff1d(splits.training, labeled))
    return config, splits


def classifiers() -> dict[str, Any]:
    """Returns new classifiers by name."""
    return {
        "nearest": KNeighborsClassifier(1),
        "logistic": LogisticRegression(max_iter=1000),
        "spreading": LabelSpreading(kernel="knn", n_neighbors=7, max_iter=100),
    }


def classify(dataset: Dataset, splits: Splits, config: Config, components: dict[int, PCA]) -> dict[str, float]:
    """Returns the test accuracy of each classifier, and the number of classes with a label."""
    dataset = standardised(dataset, splits, config.data)
    random = np.random.default_rng(config.seed)
    if config.seed not in components:
        fitted = random.permutation(splits.training)[: 2 * _NUM_UNLABELED]
        components[config.seed] = PCA(min(50, len(fitted)), random_state=0).fit(vectors(dataset, fitted))

    def features(samples: np.ndarray) -> np.ndarray:
        return components[config.seed].transform(vectors(dataset, samples))

    labeled, test = splits.labeled, random.permutation(splits.test)[:_NUM_TESTED]
    unlabeled = random.permutation(splits.unlabeled)[:_NUM_UNLABELED]
    known, of_test = dataset.labels[labeled], dataset.labels[test]
    found = {"classes": float(len(np.unique(known)))}
    inputs, tested, more = features(labeled), features(test), features(unlabeled)
    for name, classifier in classifiers().items():
        if name == "spreading":
            classifier.fit(np.concatenate([inputs, more]), np.append(known, np.full(len(more), -1)))
        elif len(np.unique(known)) > 1 or name == "nearest":
            classifier.fit(inputs, known)
        else:  # logistic regression of one class
            found[name] = float((of_test == known[0]).mean())
            continue
        with np.errstate(invalid="ignore"):  # of samples that no label reaches by spreading
            found[name] = float((classifier.predict(tested) == of_test).mean())
    return found


def vectors(dataset: Dataset, samples: np.ndarray) -> np.ndarray:
    """Returns inputs (N, D), standardised as for training."""
    mean, std = (np.array(values)[:, None, None] for values in (dataset.mean, dataset.std))
    inputs = np.asarray(dataset.images[samples], np.float64) / (255 if dataset.images.dtype == np.uint8 else 1)
    return ((inputs - mean) / std).reshape(len(samples), -1)


def train(dataset: Dataset, splits: Splits, config: Config, num_epochs: int) -> dict[str, float]:
    """Returns the test accuracy of a small network trained by SuperCM, and of one without the clustering loss."""
    found = {}
    for name, weight in (("supercm", 1.0), ("supervised_network", 0.0)):
        leaves = {
            "algorithm.clustering_weight": weight,
            "algorithm.balance_alpha": 1.03,
            "algorithm.centroid_rule": "ema",
            "training.num_epochs": num_epochs,
            "training.steps_per_epoch": 30,
            "training.labeled_batch_size": 50,
            "training.unlabeled_batch_size": 50,
            "training.learning_rate": 1e-3,
            "training.device": "cpu",
            "model.options.channels": (32, 64, 64),
        }
        with tempfile.TemporaryDirectory() as folder:
            job = Job(config.replace(leaves), dataset, splits, folder, evaluate_test=True)
            *_, last = (message for message in train_job(job) if isinstance(message, Predictions))
        found[name] = float(last.metrics["test/accuracy"])
    return found


def measured(
    name: str, seeds: range, measure: Callable[[Dataset, Splits, Config], dict[str, float]], counts: tuple[int, ...]
) -> Iterator[tuple[int, Accuracies]]:
    """Yields the accuracies for each number of labels a class."""
    data = DATA[name]
    dataset = load_dataset(Config.model_validate({"data": data}).data)
    for count in counts:
        found: Accuracies = defaultdict(lambda: defaultdict(dict))
        for arm in ARMS:
            for seed in seeds:
                config, splits = splits_of(dataset, data, count, arm, seed)
                for key, value in measure(dataset, splits, config).items():
                    found[key][arm][seed] = value
        yield count, found


def rows_of(name: str, count: int, found: Accuracies) -> list[dict[str, Any]]:
    """Returns a row for each measure, with mean and standard deviation by arm, and prints it."""
    rows = []
    for measure, by_arm in found.items():
        values = {arm: list(by_seed.values()) for arm, by_seed in by_arm.items()}
        row = {
            "data": name,
            "labels_per_class": count,
            "measure": measure,
            "mean": {arm: statistics.mean(of_arm) for arm, of_arm in values.items()},
            "std": {arm: statistics.stdev(of_arm) if len(of_arm) > 1 else None for arm, of_arm in values.items()},
            "by_seed": {arm: dict(by_seed) for arm, by_seed in by_arm.items()},
        }
        rows.append(row)
        means = "  ".join(f"{arm} {mean:6.3f} ± {row['std'][arm] or 0:.3f}" for arm, mean in row["mean"].items())
        print(f"{name:16} {count:2} {measure:18} {means}", flush=True)
    return rows


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the difference of each choice to each kind of random samples, all corrected together."""
    pairs = [
        (row, choice, other)
        for row in rows
        if row["measure"] != "classes"
        for choice in ARMS
        for other in RANDOM
        if choice not in RANDOM and choice in row["by_seed"] and other in row["by_seed"]
    ]
    found = corrected_all([difference(row["by_seed"][other], row["by_seed"][choice]) for row, choice, other in pairs])
    return [
        {
            **{key: row[key] for key in ("data", "labels_per_class", "measure")},
            "choice": choice,
            "than": other,
            "mean": one.mean,
            "interval": one.interval,
            "corrected_p": one.corrected,
            "verdict": one.verdict,
        }
        for (row, choice, other), one in zip(pairs, found, strict=True)
    ]


def verdicts(tests: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Returns how often a choice is above, below or not shown to differ, by choice, other and kind of data."""
    counts: dict[str, dict[str, int]] = {}
    for one in tests:
        kind = "chosen_by" if one["data"] in CHOSEN_BY else "fresh"
        key = f"{one['choice']} than {one['than']}, {one['labels_per_class']} a class, {kind} data"
        counts.setdefault(key, {"above": 0, "not shown": 0, "below": 0})[one["verdict"]] += 1
    return counts


def origin(seeds: range, load: float) -> dict[str, Any]:
    """Returns the provenance of the measurement, its seeds, and the load before and after."""
    about = provenance(("torch", "scikit-learn", "numpy", "scipy"))
    return {**about, "seeds": list(seeds), "load_average": [load, os.getloadavg()[0]]}


def main() -> int:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA), help="data sets")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds of the quick classifiers")
    parser.add_argument("--supercm", type=int, default=0, metavar="SEEDS", help="seeds of networks on digits; 0: none")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a network")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load, rows, left_out = os.getloadavg()[0], [], {}
    for name in args.data:
        components: dict[int, PCA] = {}
        try:
            for count, found in measured(
                name, range(args.seeds), lambda *parts, known=components: classify(*parts, known), COUNTS
            ):
                rows += rows_of(name, count, found)
        except StudyError as error:
            left_out[name] = str(error)
    if args.supercm:
        for count, found in measured(
            "digits", range(args.supercm), lambda *parts: train(*parts, num_epochs=args.epochs), COUNTS[:1]
        ):
            rows += rows_of("digits", count, found)
    tests = compared(rows)
    result = {
        "verdicts": verdicts(tests),
        "chosen_by": CHOSEN_BY,
        "left_out": sorted(left_out),
        **origin(range(args.seeds), load),
        "num_seeds_of_networks": args.supercm,
        "tests": tests,
        "rows": rows,
    }
    for name, why in left_out.items():
        print(f"left out {name}: {why}", file=sys.stderr)
    text = json.dumps(result)
    if args.out:
        args.out.write_text(json.dumps(json.loads(text), indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
