"""What the page of a scaling study must show, computed from its measurements.json with nothing of the package."""

from __future__ import annotations

import html
import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

PARTS = ("compute", "communication", "straggler_wait", "data")
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
MODELS: dict[str, Callable[..., Any]] = {
    "amdahl": lambda n, a: n / (1 + a * (n - 1)),
    "gustafson": lambda n, a: n - a * (n - 1),
    "universal": lambda n, a, b: n / (1 + a * (n - 1) + b * n * (n - 1)),
}


@dataclass(frozen=True)
class Page:
    """What a reader sees: the headline, sentences, and rows of a table by heading."""

    headline: str
    sentences: list[str]
    counts: list[dict[str, str]]
    searches: list[dict[str, str]]

    @classmethod
    def read(cls, path: Path) -> Page:
        text = path.read_text(encoding="utf-8")
        (headline,) = re.findall(r'<p class="headline">(.*?)</p>', text)
        result = text.split('id="result"')[1].split("</section>")[0]
        sentences = [html.unescape(one) for one in re.findall(r"<li>(.*?)</li>", result)]
        return cls(html.unescape(headline), sentences, _table(result, "table"), _table(result, "tuning"))


def _table(text: str, name: str) -> list[dict[str, str]]:
    if f'<table id="{name}">' not in text:
        return []
    rows = text.split(f'<table id="{name}">')[1].split("</table>", maxsplit=1)[0].split("<tr")[1:]
    headings, *cells = [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>([^<]*)</t", row)] for row in rows]
    return [dict(zip(headings, row, strict=True)) for row in cells]


def check_page(folder: Path) -> None:
    """Every cell and every number in the sentences of `scaling.html` follows from `measurements.json`."""
    page = Page.read(folder / "scaling.html")
    measured = Recomputed(json.loads((folder / "measurements.json").read_text()))
    assert [int(row["workers"]) for row in page.counts] == measured.counts
    for row, count in zip(page.counts, measured.counts, strict=True):
        same(" ".join(row.values()), measured.row(count), row)
    for row, pair in zip(page.searches, measured.pairs, strict=True):
        same(" ".join(row.values()), measured.search_row(pair), row)
    found = [page.headline, *page.sentences]
    assert len(set(found)) == len(found)
    expected = list(measured.sentences())
    told = [text for text in found if NUMBER.search(text.replace("arXiv 1812.06162", ""))]
    assert len(told) == len(expected), (told, expected)
    for text, (begin, values) in zip(told, expected, strict=True):
        assert text.startswith(begin), (text, begin)
        same(text, values, text)


def same(text: str, expected: Sequence[float | None], shown: object) -> None:
    """All numbers in a text are those expected, as exactly as they are written; None stands for any."""
    tokens = NUMBER.findall(text)
    assert len(tokens) == len(expected), (shown, tokens, expected)
    for token, value in zip(tokens, expected, strict=True):
        if value is None:
            continue
        digits, _, power = token.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        assert abs(float(token) - value) <= 0.501 * unit + 1e-4 * abs(value), (shown, token, value)


class Recomputed:
    """The numbers of a measurements.json."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = tree
        self.counts = sorted({one["num_workers"] for one in tree["repetitions"]})
        self.groups = {n: [one for one in tree["repetitions"] if one["num_workers"] == n] for n in self.counts}
        self.rates = {
            n: [self._samples(one) / statistics.median(one["step_s"]) for one in group]
            for n, group in self.groups.items()
        }
        self.rate = {n: statistics.median(values) for n, values in self.rates.items()}
        self.hours = {
            n: (tree["job_samples"] / self.rate[n] + statistics.median(one["startup_s"] for one in group)) / 3600
            for n, group in self.groups.items()
        }
        self.pairs = sorted({(one["trials_at_once"], one["gpus_per_trial"]) for one in tree["tuning"]})

    @staticmethod
    def _samples(one: dict[str, Any]) -> int:
        return int(one["labeled_samples"] + one["unlabeled_samples"])

    def steps(self, n: int) -> list[float]:
        return [step_s for one in self.groups[n] for step_s in one["step_s"]]

    def speedup(self, n: int) -> float:
        least = self.counts[0]
        return self.rate[n] / self.rate[least] * least

    def row(self, n: int) -> list[float | None]:
        """The numbers of a row of the table, in order."""
        group = self.groups[n]
        low, median, high = (1000 * value for value in statistics.quantiles(self.steps(n), n=4, method="inclusive"))
        parts = [statistics.fmean(one[f"{part}_s"] for one in group) for part in PARTS]
        rates = [
            statistics.median(one[f"{kind}_samples"] / statistics.median(one["step_s"]) for one in group)
            for kind in ("labeled", "unlabeled")
        ]
        longest = max(self.hours.values())
        unit = 1 if longest >= 1 else 60 if longest >= 1 / 60 else 3600
        busy = [one["utilisation"] for one in group if one["utilisation"] is not None]
        price = self.tree["price_per_gpu_hour"]
        return [
            n,
            max(len(set(one["nodes"])) for one in group),
            *(median, low, high, *rates, self.speedup(n), 100 * self.speedup(n) / n),
            *(100 * part / sum(parts) for part in parts),
            statistics.median(one["startup_s"] for one in group),
            max(one["peak_memory_bytes"] for one in group) / 2**20,
            *([100 * statistics.fmean(busy)] if busy else []),
            *(self.hours[n] * unit, self.hours[n] * unit * n),
            *([self.hours[n] * n * price] if price else []),
        ]

    def _runs(self, pair: tuple[int, float]) -> list[dict[str, Any]]:
        return [one for one in self.tree["tuning"] if (one["trials_at_once"], one["gpus_per_trial"]) == pair]

    def per_hour(self, pair: tuple[int, float]) -> float:
        return statistics.median(3600 * one["num_trials"] / one["seconds"] for one in self._runs(pair))

    def search_row(self, pair: tuple[int, float]) -> list[float | None]:
        runs = self._runs(pair)
        ends = (sum(one[f"num_{end}"] for one in runs) for end in ("complete", "pruned", "failed"))
        return [*pair, self.per_hour(pair), len(runs), *ends]

    def sentences(self) -> Iterator[tuple[str, list[float | None]]]:
        """The begin of each sentence with numbers, and those numbers in order."""
        yield from self._choice()
        yield from self._searches()
        if self.counts and self.counts[0] > 1:
            yield "No single worker was measured", [self.counts[0]]
        yield from self._models()
        yield from self._noise()
        yield from self._targets()
        yield from self._simulated()

    def _choice(self) -> Iterator[tuple[str, list[float | None]]]:
        if not self.counts:
            return
        floor = self.tree["efficiency_floor"]
        cost = {n: self.hours[n] * n for n in self.counts}
        cheapest = min(self.counts, key=lambda n: (cost[n], self.hours[n]))
        allowed = [n for n in self.counts if self.speedup(n) / n >= floor] or [cheapest]
        fastest = min(allowed, key=lambda n: (self.hours[n], cost[n]))
        quickest = min(self.counts, key=lambda n: self.hours[n])
        values: list[float | None] = [fastest, 100 * floor]
        if fastest != cheapest:
            values += [self.hours[cheapest] / self.hours[fastest], cheapest, cost[fastest] / cost[cheapest], cheapest]
        if quickest not in (fastest, cheapest):
            values += [quickest, 100 * self.speedup(quickest) / quickest]
        yield f"Take {fastest} worker", values

    def _searches(self) -> Iterator[tuple[str, list[float | None]]]:
        if not self.pairs:
            return
        best, first = max(self.pairs, key=self.per_hour), self.pairs[0]
        shares = len({share for _, share in self.pairs}) > 1
        named = [list(pair) if shares or pair[1] else [pair[0]] for pair in (best, first)]
        more = [self.per_hour(best) / self.per_hour(first), *named[1]] if best != first else []
        yield f"Take {best[0]} trial", [*named[0], self.per_hour(best), *more]

    def _fit(self, model: str) -> tuple[float, list[float]]:
        """Akaike's corrected criterion and parameters of least squares on logarithms."""
        counts = np.repeat(self.counts, [len(self.rates[n]) for n in self.counts]).astype(float)
        logs = np.log(np.concatenate([self.rates[n] for n in self.counts]))
        num = 3 if model == "universal" else 2
        upper = None if model == "universal" else 1

        def left(values: Any) -> float:
            return float(((np.log(values[0] * MODELS[model](counts, *values[1:])) - logs) ** 2).sum())

        start = [self.rate[self.counts[0]] / self.counts[0], 0.1, 0.01][:num]
        bounds = [(1e-6, None), *[(0, upper)] * (num - 1)]
        options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-10, "fatol": 1e-16}
        best = minimize(left, start, bounds=bounds, method="Nelder-Mead", options=options)
        n, k = len(logs), num + 1
        return n * math.log(max(best.fun / n, 1e-12)) + 2 * k + 2 * k * (k + 1) / (n - k - 1), best.x.tolist()

    def _models(self) -> Iterator[tuple[str, list[float | None]]]:
        total = len(self.tree["repetitions"])
        if not self.counts or len(self.counts) < 3 or total < 5:
            if self.counts and len(self.counts) < 3:
                yield "No speedup model is fitted", [3]
            return
        fits = sorted((*self._fit(model), model) for model in MODELS if total > 5 or model != "universal")
        leading = [one for one in fits if one[0] - fits[0][0] < 2]
        values = [value for _, found, _ in leading for one in found for value in (one, None, None)]
        limit = 2 * self.counts[-1]
        beyond = [found[0] * MODELS[model](limit, *found[1:]) for _, found, model in leading]
        text = (
            f"The speedup model that fits best is {leading[0][2]}"
            if len(leading) == 1
            else f"The speedup models {leading[0][2]}"
        )
        apart = [2] if len(leading) > 1 else []
        yield text, [*apart, *values, 95, limit, *(value for one in beyond for value in (one, None, None))]

    def _noise(self) -> Iterator[tuple[str, list[float | None]]]:
        for n in self.counts[self.counts[0] == 1 :] if self.counts else []:
            group = self.groups[n]
            small, big = (
                list(itertools.chain(*(one[f"{kind}_squares"] for one in group))) for kind in ("small", "big")
            )
            rows = self._samples(group[0])
            signal = (rows * statistics.fmean(big) - rows / n * statistics.fmean(small)) / (rows - rows / n)
            noise = (statistics.fmean(small) - statistics.fmean(big)) / (n / rows - 1 / rows)
            scale = [max(0.0, noise) / signal] if signal > 0 else []
            yield f"Gradient noise scale at {n} workers", [n, len(small), *scale, rows]

    def _targets(self) -> Iterator[tuple[str, list[float | None]]]:
        for n in sorted({one["num_workers"] for one in self.tree["targets"]}):
            runs = [one for one in self.tree["targets"] if one["num_workers"] == n]
            reached = sum(one["reached"] for one in runs)
            values: list[float | None] = [self.tree["target_accuracy"], n]
            if not reached:
                yield "To a validation accuracy", [*values, len(runs)]
                continue
            values += [reached, len(runs), *([len(runs) - reached] if reached < len(runs) else [])]
            medians = [
                statistics.median_low(one[kind] if one["reached"] else math.inf for one in runs)
                for kind in ("seconds", "samples")
            ]
            yield "To a validation accuracy", [*values, *(medians if 2 * reached >= len(runs) else [])]

    def _simulated(self) -> Iterator[tuple[str, list[float | None]]]:
        asked = self.tree["simulation"]
        if not asked or not self.counts:
            return
        several = [one for n in self.counts if n > 1 for one in self.groups[n]]
        num_bytes = max(one["collective_bytes"] or one["gradient_bytes"] for one in several or self.groups[1])
        times = max([one["num_collectives"] for one in several if one["num_collectives"]], default=1)
        weak = self.tree["mode"] == "weak"
        least = self.counts[0]
        alone = statistics.median(one["compute_s"] + one["data_s"] for one in self.groups[least]) * least ** (not weak)
        if least == 1:
            alone = statistics.median(self.steps(1))
        node = asked["workers_per_node"]
        network = [asked["bandwidth"], asked["latency_s"], node, asked["inner_bandwidth"], asked["inner_latency_s"]]
        yield "Simulated, not measured, assuming", [*network, 100 * asked["overlap"], 1000 * alone, num_bytes, times]
        outer = (asked["bandwidth"], times * asked["latency_s"])
        inner = (asked["inner_bandwidth"], times * asked["inner_latency_s"])

        def ring(n: int, bandwidth: float, latency: float) -> float:
            return 2 * (n - 1) / n * num_bytes / bandwidth + 2 * (n - 1) * latency

        simulated = sorted({*asked["num_workers"], *(n for n in self.counts if n > 1)})
        for n in simulated:
            compute = alone if weak else alone / n
            reductions = {"ring": ring(n, *(inner if n <= node else outer))}
            if 1 < node < n and n % node == 0:
                reductions["hierarchical"] = ring(node, *inner) + ring(n // node, *outer)
            for name, seconds in reductions.items():
                exposed = max(0.0, seconds - asked["overlap"] * compute)
                values: list[float | None] = [n, 1000 * (compute + exposed), 1000 * exposed]
                if n in self.groups:
                    text = f"Simulated beside measured, {n} workers, {name}"
                    yield text, [*values, 1000 * statistics.median(self.steps(n))]
                else:
                    yield f"Simulated, not measured: {n} worker", values
        unfilled = [n for n in simulated if n > node and n % node]
        if unfilled:
            yield "No hierarchical all-reduce", [*unfilled, node]
