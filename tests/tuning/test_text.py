"""The headline and the table in plain text."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from supercm_ray.config import Study
from supercm_ray.search.finalists import BASELINE, TUNED, Row
from supercm_ray.tuning.report import headline, table_text

PARAMS = {"algorithm.clustering_weight": 0.4, "data.label_ratio": 0.01}


def row(**changes: Any) -> Row:
    tuned = Row((0.01,), TUNED, PARAMS, 191, 11, 3, 3, (0.9, 0.01), (0.883, 0.021), (0.2, 0.21, 0.193))
    return replace(tuned, **changes)


def test_headline_names_labels_accuracy_and_gain(study: Study) -> None:
    text = headline(study, [row()], {(0.01,): 11})
    assert text == (
        "With 11 training labels, tuned SuperCM reaches 88.3 ± 2.1 % on the test split, "
        "20.1 points above its baseline (+18.0 to +22.2 over 3 seeds)."
    )


def test_headline_counts_all_labels_where_those_for_training_are_not_known(study: Study) -> None:
    assert headline(study, [row()]).startswith("With 191 labels (those for validation included), ")


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((-0.05, -0.04, -0.045), "4.5 points below its baseline (−5.7 to −3.3 over 3 seeds)"),
        ((-0.05, -0.03), "a difference from its baseline is not shown (−16.7 to +8.7 points over 2 seeds)"),
        ((0.0002, -0.0002), "a difference from its baseline is not shown (−0.3 to +0.3 points over 2 seeds)"),
        ((0.05,), "5.0 points above its baseline, which one seed cannot show"),
        ((0.25, 0.25), "25.0 points above its baseline, which 2 seeds with the same difference cannot show"),
        ((), "no baseline run has finished there"),
    ],
)
def test_headline_is_honest(study: Study, gains: tuple[float, ...], words: str) -> None:
    assert words in headline(study, [row(gains=gains)])


def test_headline_stands_at_the_fewest_labels_and_gives_the_range(study: Study) -> None:
    more = row(group=(0.1,), label_budget=297, gains=(-0.01, -0.03))
    text = headline(study, [more, row()], {(0.01,): 11, (0.1,): 117})
    assert text.startswith("With 11 training labels")
    assert "over the 2 groups compared the gain ranges from −2.0 to +20.1 points and is shown in 1" in text


def test_gain_that_is_shown_is_marked(study: Study) -> None:
    """The second p-value, 0.042, is small enough alone, and not among those of six gains."""
    weak = {(ratio,): row(group=(ratio,), gains=(0.03, 0.0155, 0.034)) for ratio in (0.1, 0.2, 0.3)}
    alone = table_text(study, [weak[0.1,]])
    assert alone.count(" *\n") == 1
    assert "paired t-test" in alone
    unsure = row(group=(0.4,), gains=(0.1, -0.1, 0.02))
    lines = table_text(study, [row(), *weak.values(), unsure, replace(unsure, group=(0.5,))]).splitlines()
    assert [line.endswith(" *") for line in lines[2:8]] == [True, False, False, False, False, False]
    assert "paired t-test" not in table_text(study, [unsure])


def test_headline_says_when_clustering_is_off_or_added_to_an_algorithm(study: Study) -> None:
    off = row(overrides={**PARAMS, "algorithm.clustering_weight": 0.0})
    assert "tuned supervised without the clustering loss reaches" in headline(study, [off])
    other = row(overrides={**PARAMS, "algorithm.name": "fixmatch"})
    assert "tuned fixmatch with SuperCM reaches" in headline(study, [other])


def test_headline_without_tuned_rows(study: Study) -> None:
    assert "there is no result" in headline(study, [row(arm=BASELINE, gains=())])


def test_table_is_aligned_and_narrow(study: Study) -> None:
    single = row(arm=BASELINE, gains=(), num_runs=1, test_accuracy=(0.6, math.nan))
    lines = table_text(study, [row(), single], {(0.01,): 11}).splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].split() == [
        *("data.label_ratio", "labels", "all", "labels", "arm", "val", "%", "test", "%", "seeds", "gain,", "points"),
    ]
    end = lines[0].index("test %") + len("test %")
    assert lines[2][:end].endswith("88.3 ± 2.1")
    assert lines[3][:end].endswith(" 60.0")
    assert "1 of 3" in lines[3]
    assert "nan" not in "".join(lines)


def test_table_stays_narrow_with_long_groups(study: Study) -> None:
    group_paths = ("algorithm.name", "data.label_ratio", "algorithm.centroid_rule")
    wide = study.model_copy(
        update={
            "objective": (*study.metrics, *(study.objective[1].model_copy(update={"metric": f}) for f in group_paths))
        }
    )
    space = {**study.space, **dict.fromkeys(group_paths, study.space["data.label_ratio"])}
    wide = wide.model_copy(update={"space": space})
    text = table_text(wide, [row(group=("a_very_long_name_" * 4, 0.01, "running_mean"))])
    assert max(map(len, text.splitlines())) <= 110
