"""Fits find the parameters that made the data, and name the law that did."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from supercm_ray.scaling import Analysis, ScalingPlan, analyse
from supercm_ray.scaling.law import LAWS, PARAMETERS, LawName, _solve_all, fit, fit_laws, leading

from .synthetic import raw

COUNTS = (1, 2, 4, 8, 16)
TRUTHS: dict[LawName, tuple[float, ...]] = {
    "amdahl": (1000.0, 0.1),
    "gustafson": (1000.0, 0.3),
    "universal": (1000.0, 0.05, 0.01),
}
NUM_DRAWS = 200


def exact(law: LawName, count: int) -> float:
    g, a, *rest = TRUTHS[law]
    if law == "gustafson":
        return g * (count - a * (count - 1))
    return g * count / (1 + a * (count - 1) + (rest[0] if rest else 0.0) * count * (count - 1))


def draw(law: LawName, seed: int, noise: float = 0.05, repetitions: int = 5) -> dict[int, list[float]]:
    generator = np.random.default_rng(seed)
    return {
        count: (exact(law, count) * (1 + noise * generator.standard_normal(repetitions))).tolist() for count in COUNTS
    }


@functools.cache
def analysed(law: LawName, noise: float = 0.05) -> list[Analysis]:
    """So many studies by the plan that the tool runs by default, each repetition's steps slower or faster by chance."""
    plan, found = ScalingPlan(workers=(1, 2, 4, 8)), []
    bare = raw(counts=plan.workers, repetitions=plan.repetitions, targets=(), tuning=(), simulation=None)
    for seed in range(NUM_DRAWS):
        generator = np.random.default_rng(seed)
        measured = []
        for one in bare.repetitions:
            step_s = one.rows / exact(law, one.workers) * np.exp(noise * generator.standard_normal())
            steps = step_s * np.exp(noise / 4 * generator.standard_normal(plan.num_steps))
            measured.append(one.model_copy(update={"step_s": tuple(steps.tolist())}))
        found.append(analyse(bare.model_copy(update={"repetitions": tuple(measured)})))
    return found


@pytest.mark.parametrize("law", TRUTHS)
def test_at_the_default_plan_intervals_hold_the_truth_in_nine_of_ten_studies(law: LawName) -> None:
    held = dict.fromkeys(PARAMETERS[law], 0)
    for study in analysed(law):
        found = next(one for one in study.fits if one.law == law)
        for name, truth in zip(PARAMETERS[law], TRUTHS[law], strict=True):
            low, high = found.intervals[name]
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.9 * NUM_DRAWS, held


@pytest.mark.parametrize("law", TRUTHS)
def test_at_the_default_plan_the_law_that_made_the_data_is_named(law: LawName) -> None:
    named = [study.fits[0].law for study in analysed(law)]
    assert named.count(law) >= 0.85 * NUM_DRAWS, {name: named.count(name) for name in TRUTHS}
    among = [law in {one.law for one in study.leading} for study in analysed(law)]
    assert sum(among) >= 0.95 * NUM_DRAWS, sum(among)


@pytest.mark.parametrize("law", TRUTHS)
def test_without_noise_a_fit_is_exact(law: LawName) -> None:
    best = fit_laws(draw(law, 0, noise=0.0))[0]
    assert best.law == law
    assert list(best.parameters.values()) == pytest.approx(TRUTHS[law], rel=1e-4)
    assert best.throughput(8) == pytest.approx(exact(law, 8), rel=1e-4)


@pytest.mark.parametrize("law", TRUTHS)
def test_intervals_hold_the_truth_in_nine_of_ten_draws(law: LawName) -> None:
    held = dict.fromkeys(PARAMETERS[law], 0)
    for seed in range(NUM_DRAWS):
        found = fit(law, draw(law, seed), seed=seed, resamples=200)
        for name, truth in zip(PARAMETERS[law], TRUTHS[law], strict=True):
            low, high = found.intervals[name]
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.9 * NUM_DRAWS, held


@pytest.mark.parametrize("law", TRUTHS)
def test_the_law_that_made_the_data_is_named(law: LawName) -> None:
    named = [fit_laws(draw(law, seed), resamples=2)[0].law for seed in range(NUM_DRAWS)]
    assert named.count(law) >= 0.85 * NUM_DRAWS, {name: named.count(name) for name in TRUTHS}


@pytest.mark.parametrize("law", TRUTHS)
def test_resamples_are_solved_as_scipy_solves_the_data(law: LawName) -> None:
    data = draw(law, 3)
    found = fit(law, data, resamples=2)
    means = np.log([data[count] for count in COUNTS]).mean(axis=1)
    start = np.array([np.log(TRUTHS[law][0]), *TRUTHS[law][1:]])
    solved = _solve_all(law, np.array(COUNTS, dtype=float), np.full(5, 5.0), means[None], start)[0]
    values = [found.parameters[name] for name in PARAMETERS[law]]
    assert [np.exp(solved[0]), *solved[1:]] == pytest.approx(values, rel=1e-5, abs=1e-7)


def test_parameters_are_never_negative() -> None:
    faster = {count: [100.0 * count**1.2] * 3 for count in COUNTS}
    for found in fit_laws(faster):
        assert min(found.parameters.values()) >= -1e-12
        assert found.resampled.min() >= 0


def test_what_lies_beyond_twice_the_largest_count_is_marked() -> None:
    found = fit("amdahl", draw("amdahl", 0))
    assert [(p.extrapolated, p.beyond) for p in map(found.predict, (16, 17, 32, 33))] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]
    here = found.predict(16)
    assert here.low < here.throughput < here.high


def test_too_few_repetitions_name_no_law() -> None:
    once = {count: values[:1] for count, values in draw("universal", 0).items() if count <= 8}
    assert [one.law for one in fit_laws({1: once[1], 2: once[2], 4: once[4]})] == []
    assert [one.law for one in fit_laws(once)] == []
    assert "universal" not in {one.law for one in fit_laws(once | {1: draw("universal", 0)[1][:2]})}
    assert all(np.isfinite(one.criterion) for one in fit_laws(draw("universal", 0, repetitions=2)))


def test_laws_with_criteria_close_to_one_another_are_not_told_apart() -> None:
    close = [one for one in analysed("amdahl") if len(one.leading) > 1]
    assert close
    for study in close:
        assert study.leading[1].criterion - study.fits[0].criterion < 2
    assert len(leading(fit_laws(draw("gustafson", 0, noise=0.001)))) == 1


def test_a_share_is_from_0_to_1() -> None:
    slower = {count: [100.0 / count] * 3 for count in COUNTS}
    for law in ("amdahl", "gustafson"):
        found = fit(law, slower)
        assert found.parameters["a"] <= 1
        assert found.resampled[:, 1].max() <= 1
    assert set(LAWS) == set(TRUTHS)


def test_two_counts_carry_no_law_of_three_parameters() -> None:
    data = draw("universal", 0)
    assert {found.law for found in fit_laws({1: data[1], 2: data[2]})} == {"amdahl", "gustafson"}
    assert fit_laws({1: data[1]}) == []
