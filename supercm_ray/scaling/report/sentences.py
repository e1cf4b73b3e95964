"""The results of a scaling study in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supercm_ray.scaling.all_reduce import SimulatedStep
from supercm_ray.scaling.analysis import MIN_SETTINGS, Analysis
from supercm_ray.scaling.cost import workers_text
from supercm_ray.scaling.fit import TRUSTED_FACTOR, Fit
from supercm_ray.scaling.points import TuningPoint
from supercm_ray.scaling.simulation import Simulation
from supercm_ray.scaling.speedup_models import MEANINGS
from supercm_ray.scaling.time_to_target import target_sentence

SIMULATED_NOTE = "Simulated, not measured"
NOISE_NOTE = (
    "The noise scale is that of samples drawn independently, as the profiled steps draw them. The shuffled passes of "
    "training have less noise where a batch is not small compared with the labeled, or the unlabeled, samples: with as "
    "many as there are, only that of augmentation."
)
SEARCH_NOTE = "Trials an hour count every trial that ended, and the start of trial processes is part of their time."


def sentences(found: Analysis) -> list[str]:
    """Returns all sentences, the choice first; extrapolations and simulations are marked as such."""
    parts = [_choice(found), _baseline(found), _models(found), _noise(found), _targets(found)]
    said = [sentence for part in parts for sentence in part]
    if found.simulation:
        said += _simulation(found.simulation, weak=found.measured.mode == "weak")
    return [*said, *_circumstances(found)]


def model_sentence(fits: Sequence[Fit]) -> str:
    """Names the best speedup model and those with ΔAICc < 2, and their predictions for more workers."""
    limit = TRUSTED_FACTOR * fits[0].max_workers
    described = [f"{fit.model}: {_parameters(fit)} ({MEANINGS[fit.model]})" for fit in fits]
    predicted = [_predicted(fit, limit) + (f" by {fit.model}" if len(fits) > 1 else "") for fit in fits]
    if len(fits) == 1:
        text = f"The speedup model that fits best is {described[0]}"
    else:
        names = _listed([fit.model for fit in fits])
        text = f"The speedup models {names} fit equally well (ΔAICc < 2); {'; '.join(described)}"
    return (
        f"{text}; in brackets 95 % intervals. Extrapolated, {limit} workers would do {_listed(predicted)}; beyond that "
        "nothing is predicted."
    )


def search_sentence(points: Sequence[TuningPoint]) -> str:
    """States how many trials to run at once, and why."""
    best = min(points, key=lambda one: (-one.trials_per_hour, one.trials_at_once))
    first = min(points, key=lambda one: (one.trials_at_once, one.gpus_per_trial))
    shares = len({one.gpus_per_trial for one in points}) > 1
    text = f"Take {_setting(best, shares=shares)}: {best.trials_per_hour:.1f} trials an hour"
    if len(points) == 1:
        return f"{text}; no other number was tried."
    if best is first:
        return f"{text}, and no other number does more."
    ratio = best.trials_per_hour / first.trials_per_hour
    return f"{text}, {ratio:.2f} times as many as {_setting(first, shares=shares)}."


def _choice(found: Analysis) -> Iterator[str]:
    if found.choice:
        yield found.choice.sentence
    if found.tuning:
        yield search_sentence(found.tuning)
        yield SEARCH_NOTE


def _baseline(found: Analysis) -> Iterator[str]:
    fewest = min(found.throughputs, default=1)
    if fewest > 1:
        yield (
            f"No single worker was measured: speedup and efficiency take the smallest number, {fewest} workers, to "
            "scale without loss."
        )


def _models(found: Analysis) -> Iterator[str]:
    if found.fits:
        yield model_sentence(found.leading)
        yield _offsets(found.leading)
    elif len(found.points) >= MIN_SETTINGS:
        yield "No speedup model is named: too few repetitions to tell them apart, and nothing is predicted."
    elif found.points:
        yield f"No speedup model is fitted to fewer than {MIN_SETTINGS} numbers of workers, and nothing is predicted."


def _offsets(fits: Sequence[Fit]) -> str:
    """States whether the intervals allow for offsets that all repetitions of a number of workers share."""
    exact = [fit.model for fit in fits if not fit.covers_offsets]
    text = "A number of workers may be faster or slower by an offset of its own, which all its repetitions share: "
    if not exact:
        return f"{text}the intervals allow for it, the choice of the model does not."
    return (
        f"{text}neither the choice of the model nor the intervals of {_listed(exact)}, with as many parameters as "
        "there are numbers of workers, allow for it."
    )


def _noise(found: Analysis) -> Iterator[str]:
    for count, noise in found.noise.items():
        scale = "not determined by so few steps" if noise.samples is None else f"about {noise.samples:.0f} samples"
        yield (
            f"Gradient noise scale at {count} workers, over {noise.num_steps} steps at the start of training: {scale}, "
            f"where a batch has {noise.batch_samples} samples."
        )
    if any(noise.samples is not None for noise in found.noise.values()):
        yield "Batches far above the noise scale save few steps (arXiv 1812.06162); it grows as training goes on."
        yield NOISE_NOTE


def _targets(found: Analysis) -> Iterator[str]:
    for count, seconds in found.seconds_to_target.items():
        text = target_sentence(seconds, found.samples_to_target[count])
        yield f"To a validation accuracy of {found.measured.target_accuracy} with {workers_text(count)}: {text}."
    if found.seconds_to_target:
        yield "Seconds to the target leave out the start of the workers."


def _simulation(simulation: Simulation, *, weak: bool) -> Iterator[str]:
    network = simulation.config
    alone = "as measured" if simulation.measured_alone else "from what the smallest number of workers computes"
    yield (
        f"{SIMULATED_NOTE}, assuming: a node's link of {network.bandwidth:g} bytes/s, shared by its workers, and "
        f"{network.latency_s:g} s a message between nodes; {workers_text(network.workers_per_node)} a node; "
        f"{network.inner_bandwidth:g} bytes/s and {network.inner_latency_s:g} s a message within a node; communication "
        f"during {100 * network.overlap:g} % of the computing; one worker's step of {1000 * simulation.compute_s:.2f} "
        f"ms, {alone}, {'which every worker takes' if weak else 'which workers share without loss'}; "
        f"{simulation.collectives.num_bytes} bytes in {simulation.collectives.number} "
        f"collective{'s' * (simulation.collectives.number > 1)} a step."
    )
    for one in simulation.steps:
        yield _simulated(one)
    if simulation.unfilled:
        yield (
            f"No hierarchical all-reduce is simulated for {_listed([str(count) for count in simulation.unfilled])} "
            f"workers, which do not fill nodes of {network.workers_per_node}."
        )


def _simulated(one: SimulatedStep) -> str:
    text = f"{workers_text(one.num_workers)}, {one.reduction} all-reduce"
    communication = f"({1000 * one.exposed_s:.2f} of them communication)"
    if one.measured_s is None:
        return f"{SIMULATED_NOTE}: {text}, {1000 * one.step_s:.2f} ms a step {communication}."
    return (
        f"Simulated beside measured, {text}: simulated {1000 * one.step_s:.2f} ms {communication}, measured "
        f"{1000 * one.measured_s:.2f} ms."
    )


def _circumstances(found: Analysis) -> Iterator[str]:
    measured = found.measured
    if measured.placement == "spread":
        yield "Workers were placed on as many nodes as possible."
    names = [node.name for node in measured.nodes]
    several = ", " in measured.commit or any(" and " in version for version in measured.versions.values())
    if several or len(set(names)) < len(names):
        yield (
            "Not all was measured alike: the commit, versions or a node changed in between, as the provenance "
            "shows, so that results may differ for that reason."
        )


def _parameters(fit: Fit) -> str:
    return ", ".join(
        f"{name} = {fit.parameters[name]:.4g} ({low:.4g} to {high:.4g})" for name, (low, high) in fit.intervals.items()
    )


def _predicted(fit: Fit, count: int) -> str:
    one = fit.predict(count)
    return f"{one.throughput:.1f} samples/s ({one.low:.1f} to {one.high:.1f})"


def _setting(point: TuningPoint, *, shares: bool) -> str:
    text = f"{point.trials_at_once} trial{'s' * (point.trials_at_once > 1)} at once"
    return f"{text} with {point.gpus_per_trial:g} of a GPU each" if shares or point.gpus_per_trial else text


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
