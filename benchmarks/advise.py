"""Whether `supercm-ray advise` keeps its promise: from 10 % of the labels or fewer, the number that an accuracy needs.

    SUPERCM_DATA=... python benchmarks/advise.py --out benchmarks/results/advise.json

Each task is a data set and a classifier. Its learning curve is fitted to five numbers of labels, the largest 10 % of
all, with three seeds each. The targets are the mean test accuracies with all labels and with 31.6 % of them. The truth
is the number of labels at which the mean test accuracy of other seeds crosses the target: a straight line over the
logarithm of the number between two that were measured, through means made monotone. It is compared with the interval
of the answer, the error that was measured with that of the prediction, and the chances that a number of labels suffices
with whether it did. The method was chosen on the development tasks, whose images no held-out task has. Each task is
written to the file of results when it is done, and not measured again without `--again`. The last line printed is one
JSON object.

Held-out tasks were looked at twice: first (`held_out_first`) with a method without plateaus that the points do not
show. These were added since it had failed on `googlenet_amazon`, which has the images of a development data set.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import advise_runs
import advise_tasks
import numpy as np
import torch
from advise_tasks import CLASSIFIERS, DATA, DEVELOPMENT, FEW, MANY, Curve, reduced
from provenance import provenance
from sklearn.isotonic import IsotonicRegression

from supercm_ray.advising.fit import LEVEL, PLATEAU, fit_curve
from supercm_ray.records import write_atomically

ROOT = Path(__file__).resolve().parents[1]
SEEDS, REPETITIONS = 3, 4
TRUE_SEEDS = range(100, 108)
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
TARGETS = {"all labels": -1, "a third of the labels": len(FEW) + 2}
"""Index of the number of labels whose mean accuracy is the target, by name."""


def main(words: Sequence[str] | None = None) -> int:
    """Measures the tasks that are not in the file of results, and answers for all."""
    asked = _parser().parse_args(words)
    torch.set_num_threads(1)
    known = json.loads(asked.out.read_text()) if asked.out and asked.out.exists() else {}
    load, before = os.getloadavg()[0], known.get("curves", {})
    curves = {name: _read(tree) for name, tree in before.items()}
    for name, curve in measure(asked.only, {} if asked.again else before):
        curves[name] = curve
        print(f"{name}: {_told(curve)}", flush=True)
        if asked.out:
            _write(asked.out, {**known, "curves": curves})
    about = {**provenance(_PACKAGES), "load": [load, os.getloadavg()[0]]}
    is_new = asked.again or bool(curves.keys() - before.keys())
    measured = {name: (about if is_new else known.get("measured", known))[name] for name in ("commit", "date", "load")}
    result = {**about, "measured": measured, **summary(curves), "curves": curves}
    if asked.out:
        _write(asked.out, result)
    print(
        json.dumps(
            {name: result[name] for name in ("level", "development", "held_out", "held_out_first", "held_out_chances")}
        )
    )
    return 0


def _write(path: Path, tree: dict[str, Any]) -> None:
    """Writes a line for each answer and curve."""
    text = json.dumps(tree, separators=(",", ":"), allow_nan=False)
    write_atomically(path, text.replace("},{", "},\n{").replace('}},"', '}},\n"') + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="tasks whose names begin so")
    parser.add_argument("--again", action="store_true", help="measure all tasks anew")
    parser.add_argument("--out", type=Path, help="file of the results")
    return parser


def measure(only: str, known: dict[str, Any]) -> Iterator[tuple[str, Curve]]:
    """Yields the learning curve of each task; those that are known are not measured again."""
    fitted = range(SEEDS * REPETITIONS)
    for data, load in DATA.items():
        names = [name for classifier in CLASSIFIERS if (name := f"{data}/{classifier}").startswith(only)]
        samples = reduced(load()) if set(names) - known.keys() else None
        for name in names:
            if name in known or samples is None:
                yield name, _read(known[name])
            else:
                yield name, advise_tasks.curve(samples, name.partition("/")[2], fitted, TRUE_SEEDS)
    for name in advise_runs.RUNS:
        if name in known and name.startswith(only):
            yield name, _read(known[name])
        elif name.startswith(only):
            yield name, advise_runs.curve(name, range(SEEDS), TRUE_SEEDS[:4])


def _read(tree: dict[str, dict[str, float]]) -> Curve:
    return {int(count): {int(seed): one for seed, one in found.items()} for count, found in tree.items()}


def _told(curve: Curve) -> str:
    return ", ".join(f"{100 * statistics.mean(found.values()):.1f} % with {count}" for count, found in curve.items())


def answers(name: str, curve: Curve, plateau: float = PLATEAU) -> Iterator[dict[str, Any]]:
    """Yields for each target and repetition the answer, the truth, and whether the interval holds it."""
    counts, errors = sorted(curve), _true_errors(curve)
    for target, place in TARGETS.items():
        truth = crossing(counts, errors, errors[place])
        for first in range(0, SEEDS * REPETITIONS, SEEDS):
            seeds = range(first, first + SEEDS)
            if seeds[0] in curve[counts[0]]:
                few = {count: [1 - curve[count][seed] for seed in seeds] for count in counts[: len(FEW)]}
                fit = fit_curve(few, plateau=plateau)
                found, error = fit.num_labels(errors[place]), fit.error(counts[place])
                yield {
                    **{"task": name, "target": target, "repetition": first // SEEDS, "error": errors[place]},
                    **{"largest": counts[len(FEW) - 1], "truth": truth, "estimate": found.value},
                    **{"low": found.low, "high": found.high, "covered": found.low <= truth <= found.high},
                    **{"error_low": error.low, "error_high": error.high},
                    "error_covered": error.low <= errors[place] <= error.high,
                }


def chances(curves: dict[str, Curve]) -> list[dict[str, Any]]:
    """Returns, for chances that a number of labels suffices from 0 to 1 in fifths, the mean and how often it did: of
    the accuracy with each number above 10 % and each other such number, with the seeds of the first repetition.
    """
    found = []
    for curve in curves.values():
        counts, errors = sorted(curve), _true_errors(curve)
        fit = fit_curve({count: [1 - curve[count][seed] for seed in range(SEEDS)] for count in counts[: len(FEW)]})
        for place in range(len(FEW), len(counts)):
            truth = crossing(counts, errors, errors[place])
            others = [count for count in counts[len(FEW) :] if count != counts[place]]
            found += [(fit.reached(errors[place], count), truth <= count) for count in others]
    fifths = [[one for one in found if min(4, int(5 * one[0])) == fifth] for fifth in range(5)]
    return [
        {"num": len(ours), "said": _mean(one for one, _ in ours), "seen": _mean(one for _, one in ours)}
        for ours in fifths
    ]


def _true_errors(curve: Curve) -> list[float]:
    """Returns the mean error of the seeds of the truth by number of labels."""
    found = (curve[count] for count in sorted(curve))
    return [1 - statistics.mean(one for seed, one in ours.items() if seed in TRUE_SEEDS) for ours in found]


def crossing(counts: Sequence[int], errors: Sequence[float], target: float) -> float:
    """Returns the number of labels at which the errors, made monotone, cross the target."""
    logs = np.log(counts)
    monotone = IsotonicRegression(increasing=False).fit(logs, errors).predict(logs)
    after = int(np.argmax(monotone <= target + 1e-9))
    if after == 0:
        return float(counts[0] if monotone[0] <= target + 1e-9 else counts[-1])
    above, below = monotone[after - 1], monotone[after]
    part = min(1.0, (above - target) / (above - below))
    return float(math.exp(logs[after - 1] + part * (logs[after] - logs[after - 1])))


def summary(curves: dict[str, Curve]) -> dict[str, Any]:
    """Returns the coverage on development and held-out tasks, on these without plateaus too, and every answer."""
    found = [one for name, curve in curves.items() for one in answers(name, curve)]
    held_out = {name: curve for name, curve in curves.items() if name.split("/")[0] not in DEVELOPMENT}
    parts = {
        "development": [one for one in found if one["task"] not in held_out],
        "held_out": [one for one in found if one["task"] in held_out],
        "held_out_first": [one for name, curve in held_out.items() for one in answers(name, curve, plateau=0)],
    }
    finite = [{k: None if v in (math.inf, -math.inf) else v for k, v in one.items()} for one in found]
    return {
        "level": LEVEL,
        "seeds": {"fitted": SEEDS, "repetitions": REPETITIONS, "truth": [*TRUE_SEEDS]},
        "fractions": {"fitted": FEW, "further": MANY},
        **{name: _coverage(ours) for name, ours in parts.items()},
        "held_out_chances": chances(held_out),
        "answers": finite,
    }


def _coverage(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns for each target the coverage over tasks, of the first repetition and of all, and the widths."""
    tree = {}
    for target in TARGETS:
        every = [one for one in found if one["target"] == target]
        first = [one for one in every if one["repetition"] == 0]
        if not first:
            continue
        beyond = [one for one in first if one["truth"] > one["largest"]]
        tree[target] = {
            "num_tasks": len(first),
            "covered": sum(one["covered"] for one in first),
            "coverage": _mean(one["covered"] for one in first),
            "num_beyond": len(beyond),
            "coverage_beyond": _mean(one["covered"] for one in beyond),
            "missed": [one["task"] for one in first if not one["covered"]],
            "num_all_repetitions": len(every),
            "coverage_all_repetitions": _mean(one["covered"] for one in every),
            "too_low": _mean(one["high"] < one["truth"] for one in every),
            "too_high": _mean(one["low"] > one["truth"] for one in every),
            "coverage_of_error": _mean(one["error_covered"] for one in first),
            "median_width_of_error": statistics.median(one["error_high"] - one["error_low"] for one in first),
            "bounded_above": _mean(math.isfinite(one["high"]) for one in first),
            "median_low_of_truth": statistics.median(one["low"] / one["truth"] for one in first),
            "median_estimate_of_truth": _finite(statistics.median(one["estimate"] / one["truth"] for one in first)),
            "median_high_of_truth": _finite(statistics.median(one["high"] / one["truth"] for one in first)),
        }
    return tree


def _mean(values: Iterable[float]) -> float | None:
    found = [*values]
    return round(statistics.mean(map(float, found)), 3) if found else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
