"""What is said of how parameters were chosen: optimism, and whether they are better than the default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from supercm_ray.config import Objective, Study
from supercm_ray.search import Choice
from supercm_ray.tuning.report.choices import choices_text, choices_tree, compare_to_default, verdicts

CHOICE = Choice((0.01,), 0.912, {1: 0.88, 2: 0.89, 3: 0.9}, 0.022)


def guarded() -> Choice:
    """A choice among three candidates and the default."""
    chosen, default = {1: 0.93, 2: 0.925, 3: 0.92}, {1: 0.88, 2: 0.87, 3: 0.86}
    return replace(CHOICE, chosen_values=chosen, default_values=default, num_compared=4)


@pytest.fixture
def with_candidates(study: Study) -> Study:
    return study.model_copy(update={"num_candidates": 3})


def test_optimism_is_the_search_minus_the_fresh_seeds(study: Study) -> None:
    title, head, rule, row = choices_text(study, [CHOICE]).splitlines()
    assert title == "val/accuracy in % in the search and, of the same parameters, on fresh seeds:"
    assert head.split() == ["data.label_ratio", "search", "fresh", "seeds", "optimism"]
    assert set(rule) == {"-"}
    assert row.split() == ["0.01", "91.2", "89.0", "±", "1.0", "+2.2"]


def test_a_metric_that_is_no_fraction_is_shown_as_it_is(study: Study) -> None:
    loss = study.model_copy(update={"objective": (Objective(metric="val/loss", direction="minimize"),)})
    *_, row = choices_text(loss, [Choice((), 0.5012, {1: 0.61}, 0.1088)]).splitlines()
    assert row.split() == ["0.501", "0.61", "+0.109"]


def test_chosen_parameters_that_are_shown_to_be_better_are_said_to_be(with_candidates: Study) -> None:
    (sentence,) = verdicts(with_candidates, [guarded()])
    gains = [0.05, 0.055, 0.06]
    low, high = stats.t.interval(0.95, 2, 0.055, stats.sem(gains))
    assert sentence == (
        f"data.label_ratio = 0.01: better than the default (+5.5 points over 3 seeds, {100 * low:+.1f} to "
        f"{100 * high:+.1f})."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"chosen_values": {1: 0.9, 2: 0.86}},
            "no better than the default (+0.5 points over 2 seeds, −18.6 to +19.6).",
        ),
        ({"chosen_values": {1: 0.9}}, "no better than the default (+2.0 points over one seed)."),
        ({"default_values": {4: 0.5}}, "the default has no seed to be compared on."),
        ({"is_default": True}, "the default is chosen, the best of 4 candidates on fresh seeds."),
        ({"num_compared": 1}, "the default is chosen, which is the only candidate."),
        ({"chosen_values": {}}, "nothing is chosen yet, since not all candidates have ended."),
        ({"is_default": True, "num_failed": 2}, "on fresh seeds. 2 of the candidates' runs failed."),
    ],
)
def test_what_is_not_shown_is_no_better(with_candidates: Study, changes: dict[str, Any], said: str) -> None:
    (sentence,) = verdicts(with_candidates, [replace(guarded(), **changes)])
    assert sentence.endswith(said)


def test_less_is_better_where_it_is_minimized(with_candidates: Study) -> None:
    loss = with_candidates.model_copy(update={"objective": (Objective(metric="val/loss", direction="minimize"),)})
    better = replace(guarded(), chosen_values={1: 0.5, 2: 0.51, 3: 0.52}, default_values={1: 0.6, 2: 0.612, 3: 0.619})
    tested = compare_to_default(loss, [better])[0.01,]
    assert (tested.verdict, tested.mean) == ("above", pytest.approx(0.1003, abs=1e-4))


def test_tests_are_corrected_for_the_number_of_groups(with_candidates: Study) -> None:
    """A p-value of 0.042 is small enough alone, and not beside groups without a difference."""
    weak = replace(guarded(), chosen_values={1: 0.91, 2: 0.8855, 3: 0.894})
    none = replace(guarded(), group=(0.02,), chosen_values={1: 0.9, 2: 0.85, 3: 0.87})
    assert compare_to_default(with_candidates, [weak])[0.01,].is_shown
    assert not compare_to_default(with_candidates, [weak, none])[0.01,].is_shown


def test_the_text_is_at_most_80_columns_wide(with_candidates: Study) -> None:
    paths = ("data.label_ratio", "algorithm.options.a_very_long_name_of_an_option")
    objectives = (*with_candidates.metrics, *(Objective(metric=path, direction="minimize") for path in paths))
    space = {**with_candidates.space, **dict.fromkeys(paths, with_candidates.space["data.label_ratio"])}
    wide = with_candidates.model_copy(update={"objective": objectives, "space": space})
    text = choices_text(wide, [replace(guarded(), group=(0.01, 123456.789))])
    assert max(map(len, text.splitlines())) <= 80
    assert "chosen" in text
    assert "default" in text


def test_the_tree_has_every_value_and_the_test(with_candidates: Study) -> None:
    (tree,) = choices_tree(with_candidates, [guarded()])
    assert tree["group"] == {"data.label_ratio": 0.01}
    assert (tree["metric"], tree["optimism"]) == ("val/accuracy", 0.022)
    assert tree["chosen_values"] == guarded().chosen_values
    assert tree["test_against_default"]["num_seeds"] == 3
