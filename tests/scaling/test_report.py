"""Table, page and comparison of scaling studies; every number is computed anew from the measurements."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from supercm_ray.records import Node
from supercm_ray.scaling import Measurements, analyse
from supercm_ray.scaling.report import build_scaling_report, compare, plots

from .recomputed import Page, check_page
from .synthetic import measurements, search


def written(folder: Path, content: Measurements) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "measurements.json"
    path.write_text(content.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scaling")
    build_scaling_report(written(path, measurements()))
    return path


def test_every_number_of_the_page_comes_from_the_measurements(folder: Path) -> None:
    check_page(folder)


SHARES = tuple(search(n, i, share) for n in (1, 2) for share in (0.25, 0.5) for i in range(3))
TARGETS = measurements().targets
CONTENTS: dict[str, Measurements] = {
    "weak": measurements(mode="weak", price_per_gpu_hour=None),
    "no single worker": measurements(num_workers=(2, 4, 8)),
    "low floor": measurements(efficiency_floor=0.4),
    "gpu shares": measurements(
        tuning=tuple(search(n, i, share) for n in (1, 2) for share in (0.25, 0.5) for i in range(3))
    ),
    "one search": measurements(repetitions=0, targets=(), simulation=None, tuning=(search(2, 0),)),
    "one repetition": measurements(repetitions=1),
    "two counts": measurements(num_workers=(1, 2), skipped={}),
    "one count": measurements(num_workers=(1,)),
    "not told apart": measurements(repetitions=4, num_workers=(1, 2, 4), tuning=()),
    "none reached": measurements(targets=tuple(one.model_copy(update={"reached": False}) for one in TARGETS)),
    "few reached": measurements(
        targets=tuple(one.model_copy(update={"reached": one.seed == 1}) for one in measurements().targets)
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_so_it_does_for_other_studies(name: str, tmp_path: Path) -> None:
    build_scaling_report(written(tmp_path, CONTENTS[name]), plots=False)
    check_page(tmp_path)


def test_the_table_as_json_has_what_the_page_shows(folder: Path) -> None:
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    shown = Page.read(folder / "scaling.html")
    assert [f"{100 * row['efficiency']:.1f}" for row in table["workers"]] == [
        row["efficiency %"] for row in shown.counts
    ]
    assert table["sentences"] == [shown.headline, *shown.sentences]
    for model in table["speedup_models"]:
        assert all(low <= model["parameters"][name] <= high for name, (low, high) in model["intervals"].items())


def test_the_page_shows_the_table_and_is_the_same_again(folder: Path, tmp_path: Path) -> None:
    page = (folder / "scaling.html").read_text(encoding="utf-8")
    made = build_scaling_report(written(tmp_path, measurements()))
    assert made.html.read_text(encoding="utf-8") == page
    shown = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", page.split('id="table"')[1].split("</table>")[0])
    assert all(cell in made.text for cell in shown)
    assert "http-equiv" in page
    assert not re.search(r'(src|href)="(?!data:)', page), "the page needs nothing else"
    assert len(made.plots) == 5


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


def test_what_intervals_leave_out_is_said(tmp_path: Path) -> None:
    """Three numbers of workers are fitted exactly by the universal model, and so say nothing of their offsets."""
    text = build_scaling_report(written(tmp_path / "four", measurements()), plots=False).text
    assert "the intervals allow for it, the choice of the model does not." in text
    three = measurements(num_workers=(1, 2, 4), repetitions=9)
    text = build_scaling_report(written(tmp_path / "three", three), plots=False).text
    assert "neither the choice of the model nor the intervals of universal, with as many parameters" in text


def test_a_study_of_one_count_or_none_has_a_page(tmp_path: Path) -> None:
    one = build_scaling_report(written(tmp_path / "one", measurements(num_workers=(1,), simulation=None)))
    assert "Take 1 worker: " in one.text
    none = build_scaling_report(
        written(tmp_path / "none", measurements(repetitions=0, targets=(), tuning=())), plots=False
    )
    assert "No step was timed" in none.html.read_text(encoding="utf-8")


def test_a_study_of_searches_alone_has_its_choice_for_a_headline(tmp_path: Path) -> None:
    made = build_scaling_report(written(tmp_path, measurements(repetitions=0, targets=())))
    assert Page.read(made.html).headline.startswith("Take 4 trials at once: ")
    assert "the start of trial processes is part of their time" in made.text


def test_what_cannot_be_said_is_not_said(tmp_path: Path) -> None:
    once = build_scaling_report(written(tmp_path / "once", measurements(repetitions=1)), plots=False).text
    assert "No speedup model is named: too few repetitions to tell them apart" in once
    assert "The speedup model that fits best" not in once
    close = build_scaling_report(written(tmp_path / "close", CONTENTS["not told apart"])).text
    assert re.search(r"The speedup models \w+ and \w+ fit equally well \(ΔAICc < 2\)", close)
    without = build_scaling_report(written(tmp_path / "without", measurements(num_workers=(2, 4))), plots=False)
    assert "take the smallest number, 2 workers, to scale without loss" in without.text
    assert "One worker is a process" not in without.html.read_text(encoding="utf-8")
    noisy = [
        one.model_copy(update={"big_squares": (0.0,) * 20 if one.num_workers > 1 else ()})
        for one in measurements().repetitions
    ]
    text = build_scaling_report(
        written(tmp_path / "noisy", measurements(repetitions=0).model_copy(update={"repetitions": tuple(noisy)})),
        plots=False,
    ).text
    assert "not determined by so few steps" in text
    assert "Batches far above" not in text


def test_what_was_measured_with_something_else_is_said(folder: Path, tmp_path: Path) -> None:
    assert "Not all was measured alike" not in (folder / "scaling.html").read_text(encoding="utf-8")
    for name, change in {
        "commit": {"commit": "abc, def"},
        "versions": {"versions": {"torch": "2.11 and 2.14"}},
        "node": {"nodes": (Node(name="a", num_cpus=2), Node(name="a", num_cpus=4))},
    }.items():
        page = build_scaling_report(written(tmp_path / name, measurements(**change)), plots=False).html.read_text()
        assert "Not all was measured alike" in page
    assert page.count("<dt>node</dt>") == 2


def test_two_studies_side_by_side(folder: Path, tmp_path: Path) -> None:
    slow = [one.model_copy(update={"step_s": tuple(2 * s for s in one.step_s)}) for one in measurements().repetitions]
    other = written(tmp_path, measurements(study="slow").model_copy(update={"repetitions": tuple(slow)}))
    text = compare(folder, other)
    rows = [line.split() for line in text.split("disjoint: ")[0].splitlines() if re.match(r" +\d+ ", line)]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    assert all(float(row[8]) == pytest.approx(2 * float(row[7]), rel=0.05) for row in rows), "hours of the job"
    assert {row[3] for row in rows} == {"0.500"}
    assert {row[4] for row in rows} == {"yes"}
    assert "slow, strong scaling" in text
    assert "A: The speedup model that fits best is " in text
    assert "B: Take " in text
    assert "Caution" not in text


def test_searches_side_by_side_and_what_speaks_against_it(folder: Path, tmp_path: Path) -> None:
    quick = tuple(one.model_copy(update={"seconds": one.seconds / 2}) for one in measurements().tuning)
    other = measurements(
        repetitions=0,
        tuning=quick,
        mode="weak",
        commit="ffff",
        versions={"torch": "2.14", "ray": "2.60"},
        nodes=(Node(name="b"),),
    )
    text = compare(folder, written(tmp_path, other))
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d+ ", line)]
    assert [(row[0], row[-1]) for row in rows] == [("1", "2.000"), ("2", "2.000"), ("4", "2.000")]
    cautions = [line for line in text.splitlines() if line.startswith("Caution: ")]
    for word in ("weak", "ffff", "torch 2.11 and 2.14", "nodes"):
        assert any(word in line for line in cautions), word
    assert "B: Take 4 trials at once" in text


def test_the_plot_of_searches_tells_shares_and_counts_apart() -> None:
    runs = tuple(search(n, 0, share) for n in range(1, 9) for share in (0.25, 0.5))
    axes = plots.tuning(analyse(measurements(tuning=runs))).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert len({text.get_text() for text in legend.get_texts()}) == 16
    looks = {(str(line.get_color()), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 16
    assert axes.get_ylabel() == "best val/accuracy so far"


def test_the_plot_of_efficiency_has_each_repetition_and_the_model() -> None:
    found = analyse(measurements())
    axes = plots.efficiency(found).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sum(len(np.asarray(line.get_ydata())) for line in dots) == len(found.measured.repetitions)
    assert f"model: {found.fits[0].model}" in {line.get_label() for line in axes.lines}
