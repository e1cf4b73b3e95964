"""The report as a whole: what is written, and that its numbers are those of the records."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import recall_score

from supercm_ray.config import Study
from supercm_ray.records import RunRecord, StudyFolder
from supercm_ray.tuning.report import Report, build_report

from .synthetic import HOSTILE, Maker

PLOTS = {
    "frontier",
    "history",
    "importances",
    "value-algorithm.clustering_weight",
    "value-algorithm.temperature",
    "value-training.learning_rate",
    "confusion",
    "embedding",
}
ADDRESS = re.compile(r"""(?:href|src|srcset|action|data|poster)\s*=\s*+["']?+(?!data:)|url\(|@import""", re.IGNORECASE)


class Tables(HTMLParser):
    """The cells of each table, by its id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._name, self._in_cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._name = str(dict(attrs)["id"])
            self.tables[self._name] = []
        elif tag == "tr":
            self.tables[self._name].append([])
        elif tag in ("td", "th"):
            self.tables[self._name][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[self._name][-1][-1] += data


def page(report: Report) -> str:
    return report.html.read_text(encoding="utf-8")


def groups(folder: StudyFolder) -> dict[tuple[float, str], list[RunRecord]]:
    found: dict[tuple[float, str], list[RunRecord]] = {}
    for record in folder.runs("finalist"):
        found.setdefault((record.labels["group"][0], record.labels["arm"]), []).append(record)
    return {key: sorted(records, key=lambda record: record.params["seed"]) for key, records in sorted(found.items())}


def spread(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def gains_of(folder: StudyFolder, group: float) -> list[float]:
    arms = [[one.summary["test/accuracy"] for one in groups(folder)[group, arm]] for arm in ("tuned", "baseline")]
    return [tuned - baseline for tuned, baseline in zip(*arms, strict=True)]


def is_shown(folder: StudyFolder, group: float) -> bool:
    """Whether the gain of a group is significant among those of all groups."""
    every = list(dict.fromkeys(found for found, _ in groups(folder)))
    ps = [stats.ttest_1samp(gains_of(folder, one), 0).pvalue for one in every]
    return bool(stats.false_discovery_control(ps)[every.index(group)] < 0.05)


def expected_row(folder: StudyFolder, group: float, arm: str) -> dict[str, str]:
    """A row of the table, computed from the records alone."""
    records = groups(folder)[group, arm]
    test = [record.summary["test/accuracy"] for record in records]
    gains = gains_of(folder, group)
    gain = f"{'+' if statistics.mean(gains) > 0 else ''}{spread(gains)}{' *' if is_shown(folder, group) else ''}"
    labels = len(np.load(folder.run(records[0].key).splits)["labeled"])
    return {
        "data.label_ratio": f"{group:g}",
        "labels": str(labels),
        "all labels": str(records[0].label_budget),
        "arm": arm,
        "val %": spread([folder.run(record.key).history()[-1]["val/accuracy"] for record in records]),
        "test %": spread(test),
        "seeds": "3",
        "gain, points": gain.replace("-", "−") if arm == "tuned" else "",
    }


def test_optimism_is_that_of_the_records(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    head, *body = Tables(page(report)).tables["choices"]
    assert head == ["data.label_ratio", "search", "fresh seeds", "optimism"]
    tree = json.loads(report.table_json.read_text())["choices"]
    trials = {view.record.key: view.val_accuracy for view in folder.views()}
    for cells, one in zip(body, tree, strict=True):
        records = groups(folder)[float(cells[0]), "tuned"]
        params = {path: value for path, value in records[0].overrides.items() if path != "seed"}
        (best,) = [record for record in folder.runs("trial") if record.overrides == params]
        fresh = [folder.run(record.key).history()[-1]["val/accuracy"] for record in records]
        value = trials[best.key]
        assert value is not None
        optimism = value - statistics.mean(fresh)
        assert cells[1:3] == [f"{100 * value:.1f}", spread(fresh)]
        assert cells[3] == f"{100 * optimism:+.1f}".replace("-", "−")
        assert one["optimism"] == pytest.approx(optimism)
        assert " ".join(cells[1:]) in " ".join(report.text.split())
    assert len(body) == 4


def test_every_number_of_the_table_is_that_of_the_records(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    head, *body = Tables(page(report)).tables["table"]
    shown = [dict(zip(head, cells, strict=True)) for cells in body]
    assert len(shown) == 8
    for row in shown:
        params = row.pop("params")
        record = groups(folder)[float(row["data.label_ratio"]), row["arm"]][0]
        assert f"algorithm.clustering_weight = {record.overrides['algorithm.clustering_weight']:.4g}" in params
        assert row == expected_row(folder, float(row["data.label_ratio"]), row["arm"])


def test_the_tables_of_runs_show_every_record(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    tables = Tables(page(report)).tables
    for name, kind in (("trials", "trial"), ("finalists", "finalist")):
        head, *body = tables[name]
        rows = {cells[0]: dict(zip(head, cells, strict=True)) for cells in body}
        records = {record.key.split("/")[1]: record for record in folder.runs(kind)}  # type: ignore[arg-type]
        assert rows.keys() == records.keys()
        for key, record in records.items():
            history = folder.run(record.key).history()
            assert rows[key]["status"] == record.status
            assert rows[key]["reason"] == record.reason
            assert rows[key]["epochs"] == str(len(history))
            assert rows[key]["val %"] == (f"{100 * history[-1]['val/accuracy']:.1f}" if history else "–")
            if kind == "finalist":
                assert rows[key]["test %"] == f"{100 * record.summary['test/accuracy']:.1f}"


def test_json_holds_the_table_unrounded(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    tree = json.loads(report.table_json.read_text(encoding="utf-8"))
    assert tree["best_run"] == report.best_run
    assert len(tree["rows"]) == 8
    for row in tree["rows"]:
        records = groups(folder)[row["group"]["data.label_ratio"], row["arm"]]
        test = [record.summary["test/accuracy"] for record in records]
        assert row["test_accuracy"] == {"mean": statistics.mean(test), "std": statistics.stdev(test)}
        assert row["label_budget"] == records[0].label_budget
        assert len(row["gains"]) == (3 if row["arm"] == "tuned" else 0)
        if row["gains"]:
            assert row["gain"]["mean"] == pytest.approx(statistics.mean(row["gains"]))


def test_metrics_beside_accuracy_are_those_of_the_records(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    head, *body = Tables(page(report)).tables["metrics"]
    names = [name.removesuffix(" %") for name in head[2:]]
    assert names == ["val/balanced_accuracy", "val/f1_macro", "val/ece", "test/balanced_accuracy", "test/ece"]
    rows = json.loads(report.table_json.read_text(encoding="utf-8"))["rows"]
    for (group, arm, *cells), row in zip(body, rows, strict=True):
        records = groups(folder)[float(group), arm]
        for name, cell in zip(names, cells, strict=True):
            values = [{**folder.run(one.key).history()[-1], **one.summary}[name] for one in records]
            assert cell == spread(values)
            assert row["metrics"][name]["mean"] == pytest.approx(statistics.mean(values))


def test_the_recall_of_each_class_is_that_of_the_best_run(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    assert report.best_run
    arrays = np.load(folder.run(report.best_run).test_predictions)
    head, *body = Tables(page(report)).tables["classes"]
    assert head == ["class", "val samples", "val recall %", "test samples", "test recall %"]
    recall = recall_score(arrays["labels"], arrays["predictions"], average=None)
    assert [cells[4] for cells in body] == [f"{100 * value:.1f}" for value in recall]
    assert [int(cells[3]) for cells in body] == np.bincount(arrays["labels"]).tolist()
    assert [int(cells[1]) for cells in body] == arrays["val_confusion"].sum(axis=1).tolist()
    tree = json.loads(report.table_json.read_text(encoding="utf-8"))["classes_of_best_run"]
    assert [one["recall"]["test"] for one in tree] == pytest.approx(recall.tolist())


@pytest.mark.parametrize(("counts", "said"), [([63, 27, 10], True), ([34, 33, 33], False), ([], False)])
def test_an_unbalanced_validation_split_is_said(maker: Maker, counts: list[int], said: bool) -> None:
    described = {"class_names": ["cat", "dog", "owl"], "val_class_counts": counts}
    (maker.folder.path / "data.json").write_text(json.dumps(described if counts else {"class_names": ["cat"]}))
    report = build_report(maker.study, maker.folder)
    sentence = "the largest class, cat, has 63 % of its samples. Always predicting it gives that accuracy, and 33 % bal"
    assert (sentence in page(report), sentence in report.text) == (said, said)
    found = json.loads(report.table_json.read_text(encoding="utf-8"))["val_majority"]
    assert found == ({"name": "cat", "share": counts[0] / 100, "num_classes": 3} if counts else None)


def test_records_without_the_metrics_beside_accuracy_are_shown(study: Study, copied: StudyFolder) -> None:
    for record in copied.runs("finalist"):
        copied.run(record.key).write(dataclasses.replace(record, summary={"test/accuracy": 0.5}))
        path = copied.run(record.key).test_predictions
        arrays = dict(np.load(path))
        del arrays["val_confusion"]
        np.savez(path, **arrays)
    text = page(build_report(study, copied, plots=False))
    assert Tables(text).tables["metrics"][0][2:] == ["val/balanced_accuracy %", "val/f1_macro %", "val/ece %"]
    assert Tables(text).tables["classes"][0] == ["class", "test samples", "test recall %"]


def test_page_needs_nothing_from_outside(finished: tuple[StudyFolder, Report]) -> None:
    text = page(finished[1])
    markup = re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    assert not ADDRESS.search(markup)
    assert "http:" not in markup
    assert "https:" not in markup
    assert "<script" not in text
    assert "default-src 'none'" in text


def test_drawings_need_nothing_from_outside(finished: tuple[StudyFolder, Report]) -> None:
    for drawing in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page(finished[1])):
        svg = base64.b64decode(drawing).decode()
        assert not re.search(r"""(?:href|src)\s*=\s*["'](?!#|data:)|url\((?!#)|@import|<script""", svg)


def test_page_has_what_readers_and_machines_need(finished: tuple[StudyFolder, Report]) -> None:
    text = page(finished[1])
    assert text.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in text
    assert "<title>digits: SuperCM study</title>" in text
    assert 'name="viewport"' in text
    assert len(re.findall(r'<img src="data:[^"]+" alt="[^"]{20,}"', text)) == len(PLOTS)
    for part in ("algorithm.clustering_weight = 0", "balance_alpha:", finished[0].study_id, finished[0].identity):
        assert part in text


def test_every_plot_is_there(finished: tuple[StudyFolder, Report]) -> None:
    folder, report = finished
    assert {path.stem for path in report.plots} == PLOTS
    assert set(re.findall(r'<figure id="plot-([^"]+)"', page(report))) == PLOTS
    for path in report.plots:
        assert path.parent == folder.path / "plots"
        assert path.read_bytes().startswith(b"\x89PNG")
    assert not list(folder.path.rglob("*.partial"))


def test_reasons_are_escaped(finished: tuple[StudyFolder, Report]) -> None:
    text = page(finished[1])
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quotes&#34;" in text


def test_best_run_is_chosen_by_validation(
    study: Study, copied: StudyFolder, finished: tuple[StudyFolder, Report]
) -> None:
    tuned = {group: records for (group, arm), records in groups(copied).items() if arm == "tuned"}

    def val(record: RunRecord) -> float:
        return copied.run(record.key).history()[-1]["val/accuracy"]

    best = max(tuned.values(), key=lambda records: statistics.mean(map(val, records)))
    expected = max(best, key=val).key
    assert finished[1].best_run == expected
    for record in copied.runs("finalist"):
        poisoned: dict[str, Any] = {"test/accuracy": 0.0 if record.key == expected else 1.0, "test/loss": 0.0}
        copied.run(record.key).write(record.ended("complete", summary=poisoned))
    assert build_report(study, copied).best_run == expected


def test_report_can_be_made_again(study: Study, copied: StudyFolder) -> None:
    first = build_report(study, copied)
    before = {path: path.read_bytes() for path in (first.table_json, *first.plots)}
    again = build_report(study, copied)
    assert again.text == first.text
    assert {path: path.read_bytes() for path in before} == before


def test_empty_study_says_so(maker: Maker) -> None:
    report = build_report(maker.study, maker.folder)
    assert (report.rows, report.plots, report.best_run) == ([], [], None)
    assert "No trial has begun yet." in page(report)
    assert "No tuned finalist of digits has finished yet" in page(report)
    assert json.loads(report.table_json.read_text(encoding="utf-8"))["rows"] == []
    assert not (maker.folder.path / "optuna.db").exists()


def test_study_without_finalists_says_so(maker: Maker) -> None:
    maker.trials(8)
    report = build_report(maker.study, maker.folder)
    assert "8 of 24 trials have ended." in page(report)
    assert re.search(r"0 of \d+ runs on fresh seeds are complete \(\d+ not begun\)", page(report))
    assert "no finalist has finished yet" in report.text
    assert {"frontier", "history"} <= {path.stem for path in report.plots}
    assert report.best_run is None


def test_study_whose_trials_all_failed_says_why(maker: Maker) -> None:
    maker.trials(5, status_of=lambda _: "failed")
    report = build_report(maker.study, maker.folder)
    assert "No trial has used its full budget yet" in page(report)
    assert page(report).count("<code>trials/") == 5
    assert [path.stem for path in report.plots] == ["history"]


def test_running_trials_are_shown(maker: Maker) -> None:
    maker.trials(6, status_of=lambda number: "running" if number > 3 else "complete")
    report = build_report(maker.study, maker.folder)
    assert "4 of 24 trials have ended." in page(report)
    assert [Tables(page(report)).tables["trials"][-1][i] for i in (1, 7)] == ["running", "5"]


def test_missing_baseline_is_named(maker: Maker) -> None:
    maker.trials().finalists(keep=lambda finalist: finalist.arm == "tuned" or finalist.group != (0.01,))
    report = build_report(maker.study, maker.folder)
    assert "The baseline arm has no complete run at data.label_ratio = 0.01." in page(report)
    assert "no baseline run has finished there" in report.text
    assert [row.gains for row in report.rows if row.group == (0.01,)] == [()]


def test_gain_over_fewer_seeds_is_marked(maker: Maker) -> None:
    maker.trials().finalists(keep=lambda finalist: finalist.arm == "tuned" or finalist.overrides["seed"] < 3)
    head, *body = Tables(page(build_report(maker.study, maker.folder))).tables["table"]
    gains = [dict(zip(head, cells, strict=True))["gain, points"] for cells in body]
    assert all(gain.endswith("(2 of 3 seeds)") for gain in gains if gain)


@pytest.mark.parametrize("damage", ["unlink", "truncate"])
def test_lost_predictions_cost_their_plots_only(study: Study, copied: StudyFolder, damage: str) -> None:
    best = build_report(study, copied).best_run
    assert best
    path: Path = copied.run(best).test_predictions
    path.unlink() if damage == "unlink" else path.write_bytes(path.read_bytes()[:100])
    report = build_report(study, copied)
    assert not report.plots, "a page that shows more is left as it is"
    report.table_json.unlink()
    report = build_report(study, copied)
    assert report.best_run == best
    assert {path.stem for path in report.plots} == PLOTS - {"confusion", "embedding"}
    assert "test_predictions.npz" in page(report)


def test_every_table_scrolls_on_a_narrow_screen(finished: tuple[StudyFolder, Report]) -> None:
    text = page(finished[1])
    assert text.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', text)) > 3
