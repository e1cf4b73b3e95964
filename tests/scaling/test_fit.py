"""Fits find the parameters that made the data, and name the model that did."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from supercm_ray.config import ScalingConfig
from supercm_ray.scaling import Analysis, analyse
from supercm_ray.scaling.fit import fit_model, fit_models, leading
from supercm_ray.scaling.resample import solve_all
from supercm_ray.scaling.speedup_models import PARAMETERS, SPEEDUP_MODELS, SpeedupModel

from .synthetic import measurements

COUNTS = (1, 2, 4, 8, 16)
TRUTHS: dict[SpeedupModel, tuple[float, ...]] = {
    "amdahl": (1000.0, 0.1),
    "gustafson": (1000.0, 0.3),
    "universal": (1000.0, 0.05, 0.01),
}
NUM_DRAWS = 200


def exact(model: SpeedupModel, count: int) -> float:
    g, a, *rest = TRUTHS[model]
    if model == "gustafson":
        return g * (count - a * (count - 1))
    return g * count / (1 + a * (count - 1) + (rest[0] if rest else 0.0) * count * (count - 1))


def draw(model: SpeedupModel, seed: int, noise: float = 0.05, repetitions: int = 5) -> dict[int, list[float]]:
    generator = np.random.default_rng(seed)
    return {
        count: (exact(model, count) * (1 + noise * generator.standard_normal(repetitions))).tolist() for count in COUNTS
    }


@functools.cache
def analysed(model: SpeedupModel, noise: float = 0.05) -> list[Analysis]:
    """So many studies with the tool's defaults, each repetition's steps slower or faster by chance."""
    plan, found = ScalingConfig(num_workers=(1, 2, 4, 8)), []
    bare = measurements(
        num_workers=plan.num_workers, repetitions=plan.repetitions, targets=(), tuning=(), simulation=None
    )
    for seed in range(NUM_DRAWS):
        generator = np.random.default_rng(seed)
        measured = []
        for one in bare.repetitions:
            step_s = one.samples / exact(model, one.num_workers) * np.exp(noise * generator.standard_normal())
            steps = step_s * np.exp(noise / 4 * generator.standard_normal(plan.num_steps))
            measured.append(one.model_copy(update={"step_s": tuple(steps.tolist())}))
        found.append(analyse(bare.model_copy(update={"repetitions": tuple(measured)})))
    return found


@pytest.mark.parametrize("model", TRUTHS)
def test_by_default_intervals_hold_the_truth_in_nine_of_ten_studies(model: SpeedupModel) -> None:
    held = dict.fromkeys(PARAMETERS[model], 0)
    for study in analysed(model):
        found = next(one for one in study.fits if one.model == model)
        for name, truth in zip(PARAMETERS[model], TRUTHS[model], strict=True):
            low, high = found.intervals[name]
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.9 * NUM_DRAWS, held


@pytest.mark.parametrize("model", TRUTHS)
def test_by_default_the_model_that_made_the_data_is_named(model: SpeedupModel) -> None:
    named = [study.fits[0].model for study in analysed(model)]
    assert named.count(model) >= 0.85 * NUM_DRAWS, {name: named.count(name) for name in TRUTHS}
    among = [model in {one.model for one in study.leading} for study in analysed(model)]
    assert sum(among) >= 0.95 * NUM_DRAWS, sum(among)


@pytest.mark.parametrize("model", TRUTHS)
def test_without_noise_a_fit_is_exact(model: SpeedupModel) -> None:
    best = fit_models(draw(model, 0, noise=0.0))[0]
    assert best.model == model
    assert list(best.parameters.values()) == pytest.approx(TRUTHS[model], rel=1e-4)
    assert best.throughput(8) == pytest.approx(exact(model, 8), rel=1e-4)


@pytest.mark.parametrize("model", TRUTHS)
def test_intervals_hold_the_truth_in_nine_of_ten_draws(model: SpeedupModel) -> None:
    held = dict.fromkeys(PARAMETERS[model], 0)
    for seed in range(NUM_DRAWS):
        found = fit_model(model, draw(model, seed), seed=seed, resamples=200)
        for name, truth in zip(PARAMETERS[model], TRUTHS[model], strict=True):
            low, high = found.intervals[name]
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.9 * NUM_DRAWS, held


@pytest.mark.parametrize("counts", [COUNTS, COUNTS[:4]])
@pytest.mark.parametrize("model", TRUTHS)
def test_intervals_hold_the_truth_under_offsets(model: SpeedupModel, counts: tuple[int, ...]) -> None:
    """Each number of workers is off by about 3 % in all its repetitions, which differ by 1 %."""
    held, ahead = dict.fromkeys(PARAMETERS[model], 0), 2 * counts[-1]
    predicted = 0
    for seed in range(NUM_DRAWS):
        generator = np.random.default_rng(seed)
        errors = {n: 0.03 * generator.standard_normal() + 0.01 * generator.standard_normal(5) for n in counts}
        found = fit_model(model, {n: (exact(model, n) * np.exp(errors[n])).tolist() for n in counts}, resamples=200)
        assert found.covers_offsets
        for name, truth in zip(PARAMETERS[model], TRUTHS[model], strict=True):
            low, high = found.intervals[name]
            held[name] += low <= truth <= high
        there = found.predict(ahead)
        predicted += there.low <= exact(model, ahead) <= there.high
    assert min(*held.values(), predicted) >= 0.9 * NUM_DRAWS, (held, predicted)


def test_as_many_parameters_as_counts_leave_offsets_out() -> None:
    data = {count: values for count, values in draw("universal", 0).items() if count <= 4}
    fits = {one.model: one.covers_offsets for one in fit_models(data)}
    assert fits == {"amdahl": True, "gustafson": True, "universal": False}


@pytest.mark.parametrize("model", TRUTHS)
def test_the_model_that_made_the_data_is_named(model: SpeedupModel) -> None:
    named = [fit_models(draw(model, seed), resamples=2)[0].model for seed in range(NUM_DRAWS)]
    assert named.count(model) >= 0.85 * NUM_DRAWS, {name: named.count(name) for name in TRUTHS}


@pytest.mark.parametrize("model", TRUTHS)
def test_resamples_are_solved_as_scipy_solves_the_data(model: SpeedupModel) -> None:
    data = draw(model, 3)
    found = fit_model(model, data, resamples=2)
    means = np.log([data[count] for count in COUNTS]).mean(axis=1)
    start = np.array([np.log(TRUTHS[model][0]), *TRUTHS[model][1:]])
    solved = solve_all(model, np.array(COUNTS, dtype=float), np.full(5, 5.0), means[None], start)[0]
    values = [found.parameters[name] for name in PARAMETERS[model]]
    assert [np.exp(solved[0]), *solved[1:]] == pytest.approx(values, rel=1e-5, abs=1e-7)


def test_parameters_are_never_negative() -> None:
    faster = {count: [100.0 * count**1.2] * 3 for count in COUNTS}
    for found in fit_models(faster):
        assert min(found.parameters.values()) >= -1e-12
        assert found.resampled.min() >= 0


def test_what_lies_beyond_twice_the_largest_count_is_marked() -> None:
    found = fit_model("amdahl", draw("amdahl", 0))
    assert [(p.extrapolated, p.beyond) for p in map(found.predict, (16, 17, 32, 33))] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]
    here = found.predict(16)
    assert here.low < here.throughput < here.high


def test_too_few_repetitions_name_no_model() -> None:
    once = {count: values[:1] for count, values in draw("universal", 0).items() if count <= 8}
    assert [one.model for one in fit_models({1: once[1], 2: once[2], 4: once[4]})] == []
    assert [one.model for one in fit_models(once)] == []
    assert "universal" not in {one.model for one in fit_models(once | {1: draw("universal", 0)[1][:2]})}
    assert all(np.isfinite(one.aicc) for one in fit_models(draw("universal", 0, repetitions=2)))


def test_models_with_delta_aicc_below_2_are_not_told_apart() -> None:
    close = [one for one in analysed("amdahl") if len(one.leading) > 1]
    assert close
    for study in close:
        assert study.leading[1].aicc - study.fits[0].aicc < 2
    assert len(leading(fit_models(draw("gustafson", 0, noise=0.001)))) == 1


def test_a_share_is_from_0_to_1() -> None:
    slower = {count: [100.0 / count] * 3 for count in COUNTS}
    for model in ("amdahl", "gustafson"):
        found = fit_model(model, slower)
        assert found.parameters["a"] <= 1
        assert found.resampled[:, 1].max() <= 1
    assert set(SPEEDUP_MODELS) == set(TRUTHS)


def test_two_counts_carry_no_model_of_three_parameters() -> None:
    data = draw("universal", 0)
    assert {found.model for found in fit_models({1: data[1], 2: data[2]})} == {"amdahl", "gustafson"}
    assert fit_models({1: data[1]}) == []
