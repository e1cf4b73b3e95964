"""How the parameters of each group were chosen, as text, as cells of a table and as a tree for JSON."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import asdict

from supercm_ray.config import VAL_METRICS, Study
from supercm_ray.reporting.significance import Difference, corrected_all, difference
from supercm_ray.reporting.tables import aligned, value_text
from supercm_ray.search import Choice, Group
from supercm_ray.tuning.report.groups import group_text, narrowed

WIDTH = 80
"""Largest number of columns of the text."""


def choices_text(study: Study, choices: Sequence[Choice]) -> str:
    """Formats the choices as plain text: how much better validation was in the search than on fresh seeds and, if there
    are candidates, whether those chosen are better than the default.
    """
    lines = narrowed(choices_table(study, choices), len(study.group_paths), WIDTH)
    title = f"{study.primary.metric}{_unit(study)} in the search and, of the same parameters, on fresh seeds:"
    said = (one for sentence in verdicts(study, choices) for one in textwrap.wrap(sentence, WIDTH))
    return "\n".join([*textwrap.wrap(title, WIDTH), aligned(lines), *said])


def choices_table(study: Study, choices: Sequence[Choice]) -> list[tuple[str, ...]]:
    """Returns the cells of a table of the choices, the first of which are headings."""
    guarded = study.num_candidates > 1
    headings = ("search", "fresh seeds", "optimism", *(("chosen", "default") if guarded else ()))
    rows = []
    for one in choices:
        optimism = "–" if one.optimism is None else _signed(study, one.optimism)
        cells = (_value(study, [one.search_value]), _value(study, one.fresh_values.values()), optimism)
        of_candidates = (_value(study, one.chosen_values.values()), _value(study, one.default_values.values()))
        rows.append((*map(value_text, one.group), *cells, *(of_candidates if guarded else ())))
    return [(*study.group_paths, *headings), *rows]


def verdicts(study: Study, choices: Sequence[Choice]) -> list[str]:
    """Returns a sentence for each group with candidates: what was chosen, whether that is better than the default, and
    how many of the candidates' runs failed.
    """
    if study.num_candidates == 1:
        return []
    tested = compare_to_default(study, choices)
    return [_verdict(study, one, tested.get(one.group)) for one in choices]


def compare_to_default(study: Study, choices: Sequence[Choice]) -> dict[Group, Difference]:
    """Tests, over the seeds that both have, the chosen parameters against the default where they are others, corrected
    for the number of groups. More is better, whatever the direction of the primary objective.
    """
    factor = 1 if study.primary.direction == "maximize" else -1

    def test(one: Choice) -> Difference:
        default, chosen = (
            {seed: factor * value for seed, value in values.items()}
            for values in (one.default_values, one.chosen_values)
        )
        return difference(default, chosen)

    compared = [one for one in choices if not one.is_default and one.default_values.keys() & one.chosen_values.keys()]
    return dict(zip((one.group for one in compared), corrected_all([test(one) for one in compared]), strict=True))


def choices_tree(study: Study, choices: Sequence[Choice]) -> list[dict[str, object]]:
    """Returns the choices as a tree for JSON, with the test of each against the default."""
    tested = compare_to_default(study, choices)
    return [
        {
            **asdict(one),
            "group": dict(zip(study.group_paths, one.group, strict=True)),
            "metric": study.primary.metric,
            "test_against_default": asdict(tested[one.group]) if one.group in tested else None,
        }
        for one in choices
    ]


def _verdict(study: Study, one: Choice, tested: Difference | None) -> str:
    failed = f" {one.num_failed} of the candidates' runs failed." if one.num_failed else ""
    return f"{group_text(study, one.group)}: {_chosen(study, one, tested)}.{failed}"


def _chosen(study: Study, one: Choice, tested: Difference | None) -> str:
    if not one.chosen_values:
        return "nothing is chosen yet, since not all candidates have ended"
    if one.num_compared == 1:
        return "the default is chosen, which is the only candidate"
    if one.is_default:
        return f"the default is chosen, the best of {one.num_compared} candidates on fresh seeds"
    if tested is None:
        return "the default has no seed to be compared on"
    seeds = "one seed" if tested.num_seeds == 1 else f"{tested.num_seeds} seeds"
    size = f"{_signed(study, tested.mean)}{_points(study)} over {seeds}"
    if tested.interval is not None:
        size += f", {' to '.join(_signed(study, bound) for bound in tested.interval)}"
    if tested.verdict == "above":
        return f"better than the default ({size})"
    return f"no better than the default ({size})"


def _is_fraction(study: Study) -> bool:
    return study.primary.metric in VAL_METRICS and study.primary.metric != "val/loss"


def _unit(study: Study) -> str:
    return " in %" if _is_fraction(study) else ""


def _points(study: Study) -> str:
    return " points" if _is_fraction(study) else ""


def _value(study: Study, values: Collection[float]) -> str:
    """Formats the mean of values, with their standard deviation if there are several."""
    if not values:
        return "–"
    mean = _number(study, statistics.mean(values))
    return f"{mean} ± {_number(study, statistics.stdev(values))}" if len(values) > 1 else mean


def _number(study: Study, value: float) -> str:
    return f"{100 * value:.1f}" if _is_fraction(study) else f"{value:.3g}"


def _signed(study: Study, value: float) -> str:
    text = f"{100 * value:+.1f}" if _is_fraction(study) else f"{value:+.3g}"
    return text.replace("-", "−") if float(text) else text[1:]
