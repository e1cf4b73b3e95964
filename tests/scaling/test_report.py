"""Table, page and comparison of scaling studies; every figure is computed anew from the raw file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from supercm_ray.scaling import Host, Raw, analyse
from supercm_ray.tuning.report import build_scaling_report, compare, scaling_plots

from .recomputed import Page, check_page
from .synthetic import raw, search


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


def test_every_figure_of_the_page_comes_from_the_raw_file(folder: Path) -> None:
    check_page(folder)


CONTENTS: dict[str, Raw] = {
    "weak": raw(mode="weak", price=None),
    "no single worker": raw(counts=(2, 4, 8)),
    "low floor": raw(efficiency_floor=0.4),
    "gpu shares": raw(tuning=tuple(search(n, i, share) for n in (1, 2) for share in (0.25, 0.5) for i in range(3))),
    "one search": raw(repetitions=0, targets=(), simulation=None, tuning=(search(2, 0),)),
    "one repetition": raw(repetitions=1),
    "two counts": raw(counts=(1, 2), skipped={}),
    "one count": raw(counts=(1,)),
    "not told apart": raw(repetitions=4, counts=(1, 2, 4), tuning=()),
    "none reached": raw(targets=tuple(one.model_copy(update={"reached": False}) for one in raw().targets)),
    "few reached": raw(targets=tuple(one.model_copy(update={"reached": one.seed == 1}) for one in raw().targets)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_so_it_does_for_other_studies(name: str, tmp_path: Path) -> None:
    build_scaling_report(written(tmp_path, CONTENTS[name]), plots=False)
    check_page(tmp_path)


def test_the_table_as_json_has_what_the_page_shows(folder: Path) -> None:
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    shown = Page.read(folder / "scaling.html")
    assert [f"{100 * row['efficiency']:.1f}" for row in table["counts"]] == [
        row["efficiency %"] for row in shown.counts
    ]
    assert table["sentences"] == [shown.finding, *shown.sentences]
    for law in table["laws"]:
        assert all(low <= law["parameters"][name] <= high for name, (low, high) in law["intervals"].items())


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
    assert page.count("<li>Simulated, not measured: ") == 5
    assert page.count("<li>Simulated beside measured, ") == 3
    assert "No hierarchical all-reduce is simulated for 12 workers, which do not fill nodes of 8." in page
    assert "Extrapolated, 16 workers would do" in page
    assert "16 workers: the cluster has room for 8 workers" in page
    assert "2 of 3 runs reached it, 1 never did; median" in page
    assert "Seconds to the target leave out the start of the workers." in page
    assert "b: cost of keeping the workers in step" in page


def test_a_study_of_one_count_or_none_has_a_page(tmp_path: Path) -> None:
    one = build_scaling_report(written(tmp_path / "one", raw(counts=(1,), simulation=None)))
    assert "Take 1 worker: " in one.text
    none = build_scaling_report(written(tmp_path / "none", raw(repetitions=0, targets=(), tuning=())), plots=False)
    assert "No step was timed" in none.html.read_text(encoding="utf-8")


def test_a_study_of_searches_alone_has_its_choice_for_a_headline(tmp_path: Path) -> None:
    made = build_scaling_report(written(tmp_path, raw(repetitions=0, targets=())))
    assert Page.read(made.html).finding.startswith("Take 4 trials at once: ")
    assert "the start of trial processes is part of their time" in made.text


def test_what_cannot_be_said_is_not_said(tmp_path: Path) -> None:
    once = build_scaling_report(written(tmp_path / "once", raw(repetitions=1)), plots=False).text
    assert "No law is named: too few repetitions to tell laws apart" in once
    assert "The law that fits best" not in once
    close = build_scaling_report(written(tmp_path / "close", CONTENTS["not told apart"])).text
    assert re.search(r"The laws \w+ and \w+ are not told apart, for their criteria differ by less than 2", close)
    without = build_scaling_report(written(tmp_path / "without", raw(counts=(2, 4))), plots=False)
    assert "take the least count, 2 workers, to scale without loss" in without.text
    assert "One worker is a process" not in without.html.read_text(encoding="utf-8")
    noisy = [
        one.model_copy(update={"big_squares": (0.0,) * 20 if one.workers > 1 else ()}) for one in raw().repetitions
    ]
    text = build_scaling_report(
        written(tmp_path / "noisy", raw(repetitions=0).model_copy(update={"repetitions": tuple(noisy)})), plots=False
    ).text
    assert "not determined by so few steps" in text
    assert "Batches far above" not in text


def test_what_was_measured_with_something_else_is_said(folder: Path, tmp_path: Path) -> None:
    assert "Not all was measured alike" not in (folder / "scaling.html").read_text(encoding="utf-8")
    for name, change in {
        "commit": {"commit": "abc, def"},
        "versions": {"versions": {"torch": "2.11 and 2.14"}},
        "host": {"hosts": (Host(name="a", num_cpus=2), Host(name="a", num_cpus=4))},
    }.items():
        page = build_scaling_report(written(tmp_path / name, raw(**change)), plots=False).html.read_text()
        assert "Not all was measured alike" in page
    assert page.count("<dt>machine</dt>") == 2


def test_two_studies_side_by_side(folder: Path, tmp_path: Path) -> None:
    slow = [one.model_copy(update={"step_s": tuple(2 * s for s in one.step_s)}) for one in raw().repetitions]
    other = written(tmp_path, raw(study="slow").model_copy(update={"repetitions": tuple(slow)}))
    text = compare(folder, other)
    rows = [line.split() for line in text.split("apart: ")[0].splitlines() if re.match(r" +\d+ ", line)]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    assert all(float(row[8]) == pytest.approx(2 * float(row[7]), rel=0.05) for row in rows), "hours of the job"
    assert {row[3] for row in rows} == {"0.500"}
    assert {row[4] for row in rows} == {"yes"}
    assert "slow, strong scaling" in text
    assert "A: The law that fits best is " in text
    assert "B: Take " in text
    assert "Caution" not in text


def test_searches_side_by_side_and_what_speaks_against_it(folder: Path, tmp_path: Path) -> None:
    quick = tuple(one.model_copy(update={"seconds": one.seconds / 2}) for one in raw().tuning)
    other = raw(
        repetitions=0,
        tuning=quick,
        mode="weak",
        commit="ffff",
        versions={"torch": "2.14", "ray": "2.60"},
        hosts=(Host(name="b"),),
    )
    text = compare(folder, written(tmp_path, other))
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d+ ", line)]
    assert [(row[0], row[-1]) for row in rows] == [("1", "2.000"), ("2", "2.000"), ("4", "2.000")]
    cautions = [line for line in text.splitlines() if line.startswith("Caution: ")]
    for word in ("weak", "ffff", "torch 2.11 and 2.14", "machines"):
        assert any(word in line for line in cautions), word
    assert "B: Take 4 trials at once" in text


def test_the_figure_of_searches_tells_shares_and_counts_apart() -> None:
    runs = tuple(search(n, 0, share) for n in range(1, 9) for share in (0.25, 0.5))
    axes = scaling_plots.tuning(analyse(raw(tuning=runs))).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert len({text.get_text() for text in legend.get_texts()}) == 16
    looks = {(str(line.get_color()), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 16
    assert axes.get_ylabel() == "best val/accuracy so far"


def test_the_figure_of_efficiency_has_each_repetition_and_the_law() -> None:
    found = analyse(raw())
    axes = scaling_plots.efficiency(found).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sum(len(np.asarray(line.get_ydata())) for line in dots) == len(found.raw.repetitions)
    assert f"law: {found.fits[0].law}" in {line.get_label() for line in axes.lines}
