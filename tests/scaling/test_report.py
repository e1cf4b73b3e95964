"""Table, page and comparison of scaling studies; every figure is computed anew from the raw file."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from supercm_ray.report import build_scaling_report, compare
from supercm_ray.scaling import Raw

from .synthetic import raw


def written(folder: Path, content: Raw) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "raw.json"
    path.write_text(content.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scaling")
    build_scaling_report(written(path, raw()))
    return path


def test_every_figure_of_the_table_comes_from_the_raw_file(folder: Path) -> None:
    """Recomputed here from the JSON with nothing of the package."""
    tree = json.loads((folder / "raw.json").read_text(encoding="utf-8"))
    rows = {row["count"]: row for row in json.loads((folder / "table.json").read_text(encoding="utf-8"))["counts"]}
    groups = {n: [one for one in tree["repetitions"] if one["workers"] == n] for n in rows}
    rate = {
        n: statistics.median(
            (one["labeled_rows"] + one["unlabeled_rows"]) / statistics.median(one["step_s"]) for one in group
        )
        for n, group in groups.items()
    }
    for n, group in groups.items():
        steps = [step for one in group for step in one["step_s"]]
        hours = (tree["job_rows"] / rate[n] + statistics.median(one["startup_s"] for one in group)) / 3600
        parts = {p: statistics.fmean(one[f"{p}_s"] for one in group) for p in rows[n]["shares"]}
        assert rows[n]["step_s"] == pytest.approx(statistics.quantiles(steps, n=4, method="inclusive"))
        assert rows[n]["throughput"] == pytest.approx(rate[n])
        assert rows[n]["speedup"] == pytest.approx(rate[n] / rate[1])
        assert rows[n]["efficiency"] == pytest.approx(rate[n] / rate[1] / n)
        assert rows[n]["hours"] == pytest.approx(hours)
        assert rows[n]["money"] == pytest.approx(hours * n * tree["price"])
        assert rows[n]["shares"] == pytest.approx({p: value / sum(parts.values()) for p, value in parts.items()})
        assert rows[n]["peak_memory_bytes"] == max(one["peak_memory_bytes"] for one in group)


LAWS = {
    "amdahl": lambda n, a: n / (1 + a * (n - 1)),
    "gustafson": lambda n, a: n - a * (n - 1),
    "universal": lambda n, a, b: n / (1 + a * (n - 1) + b * n * (n - 1)),
}


def test_what_follows_from_the_table_comes_from_the_raw_file_too(folder: Path) -> None:
    """Laws, noise scale, times to the target, searches and simulation, again with nothing of the package."""
    tree, table = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("raw.json", "table.json"))
    counts = np.array([one["workers"] for one in tree["repetitions"]])
    rows = np.array([one["labeled_rows"] + one["unlabeled_rows"] for one in tree["repetitions"]])
    logs = np.log(rows / [statistics.median(one["step_s"]) for one in tree["repetitions"]])
    for law in table["laws"]:
        speedup = LAWS[law["law"]]
        found = list(law["parameters"].values())

        def left(values: np.ndarray, speedup: Any = speedup) -> float:
            return float(((np.log(values[0] * speedup(counts, *values[1:])) - logs) ** 2).sum())

        bounds = [(1, None), *[(0, 1 if law["law"] == "gustafson" else None)] * (len(found) - 1)]
        best = minimize(left, [1000.0, 0.1, 0.01][: len(found)], bounds=bounds, method="Nelder-Mead", tol=1e-12)
        assert left(np.array(found)) <= best.fun * (1 + 1e-6)
        assert all(low <= law["parameters"][name] <= high for name, (low, high) in law["intervals"].items())
    for count, noise in table["noise_scale"].items():
        group = [one for one in tree["repetitions"] if one["workers"] == int(count)]
        big_rows = group[0]["labeled_rows"] + group[0]["unlabeled_rows"]
        small_rows = big_rows / int(count)
        small, big = (statistics.fmean(v for one in group for v in one[f"{size}_squares"]) for size in ("small", "big"))
        signal = (big_rows * big - small_rows * small) / (big_rows - small_rows)
        assert noise["rows"] == pytest.approx((small - big) / (1 / small_rows - 1 / big_rows) / signal)
    for count, target in table["seconds_to_target"].items():
        runs = [one for one in tree["targets"] if one["workers"] == int(count)]
        assert target["num_censored"] == sum(not one["reached"] for one in runs)
        times = sorted(one["seconds"] if one["reached"] else math.inf for one in runs)
        assert target["median"] == statistics.median(times)  # the one that never did comes after all others
    for one in table["tuning"]:
        group = [run for run in tree["tuning"] if run["trials_at_once"] == one["trials_at_once"]]
        assert one["trials_per_hour"] == statistics.median(3600 * run["num_trials"] / run["seconds"] for run in group)
    asked, alone = tree["simulation"], [one for one in tree["repetitions"] if one["workers"] == 1]
    compute_s = statistics.median(one["compute_s"] + one["data_s"] for one in alone)
    num_bytes = max(one["gradient_bytes"] for one in alone)
    for one in (one for one in table["simulated"] if one["reduction"] == "ring"):
        n = one["count"]
        ring_s = 2 * (n - 1) / n * num_bytes / asked["bandwidth"] + 2 * (n - 1) * asked["latency_s"]
        hidden_s = asked["overlap"] * compute_s / n
        assert one["step_s"] == pytest.approx(compute_s / n + max(0, ring_s - hidden_s))


def test_the_page_shows_the_table_and_is_the_same_again(folder: Path, tmp_path: Path) -> None:
    page = (folder / "scaling.html").read_text(encoding="utf-8")
    made = build_scaling_report(written(tmp_path, raw()))
    assert made.html.read_text(encoding="utf-8") == page
    shown = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", page.split('id="table"')[1].split("</table>")[0])
    assert all(cell in made.text for cell in shown)
    assert "http-equiv" in page
    assert not re.search(r'(src|href)="(?!data:)', page), "the page needs nothing else"
    assert len(made.figures) == 5


def test_what_is_simulated_or_beyond_is_said_to_be(folder: Path) -> None:
    page = (folder / "scaling.html").read_text(encoding="utf-8")
    assert page.count("Simulated, not measured: ") == 4
    assert "Extrapolated, 16 workers would do" in page
    assert "16 workers: the cluster has room for 8 workers" in page
    assert "1 never did and count as censored" in page


def test_a_study_of_one_count_or_none_has_a_page(tmp_path: Path) -> None:
    one = build_scaling_report(written(tmp_path / "one", raw(counts=(1,), simulation=None)))
    assert "Take 1 worker: " in one.text
    none = build_scaling_report(written(tmp_path / "none", raw(repetitions=0, targets=())), figures=False)
    assert "No step was timed" in none.html.read_text(encoding="utf-8")


def test_two_studies_side_by_side(folder: Path, tmp_path: Path) -> None:
    slow = [one.model_copy(update={"step_s": tuple(2 * s for s in one.step_s)}) for one in raw().repetitions]
    other = written(tmp_path, raw(study="slow").model_copy(update={"repetitions": tuple(slow)}))
    text = compare(folder, other)
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d+ ", line)]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    assert {row[3] for row in rows} == {"0.500"}
    assert {row[4] for row in rows} == {"yes"}
    assert "slow, strong scaling" in text
