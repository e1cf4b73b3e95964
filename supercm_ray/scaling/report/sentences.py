"""What a scaling study says, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supercm_ray.scaling import (
    LEAST_COUNTS,
    MEANINGS,
    TRUSTED_FACTOR,
    Analysis,
    Fit,
    Simulated,
    Simulation,
    TuningPoint,
    target_sentence,
)

SIMULATED_NOTE = "Simulated, not measured"
SEARCH_NOTE = "Trials an hour count every trial that ended, and the start of trial processes is part of their time."


def sentences(found: Analysis) -> list[str]:
    """All of it, what to choose first; what goes beyond measurements is marked as such."""
    parts = [_choice(found), _baseline(found), _law(found), _noise(found), _targets(found)]
    said = [sentence for part in parts for sentence in part]
    if found.simulation:
        said += _simulation(found.simulation, weak=found.raw.mode == "weak")
    return [*said, *_circumstances(found)]


def law_sentence(fits: Sequence[Fit]) -> str:
    """The laws that are not told apart, the best one first, and what they say of more workers."""
    limit = TRUSTED_FACTOR * fits[0].largest
    described = [f"{fit.law}: {_values(fit)} ({MEANINGS[fit.law]})" for fit in fits]
    predicted = [_predicted(fit, limit) + (f" by {fit.law}" if len(fits) > 1 else "") for fit in fits]
    if len(fits) == 1:
        text = f"The law that fits best is {described[0]}"
    else:
        names = _listed([fit.law for fit in fits])
        text = f"The laws {names} are not told apart, for their criteria differ by less than 2; {'; '.join(described)}"
    return (
        f"{text}; in brackets 95 % intervals. Extrapolated, {limit} workers would do {_listed(predicted)}; beyond that "
        "nothing is predicted."
    )


def search_sentence(points: Sequence[TuningPoint]) -> str:
    """How many trials to run at once, and why."""
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
    least = min(found.throughputs, default=1)
    if least > 1:
        yield (
            f"No single worker was measured: speed-up and efficiency take the least count, {least} workers, to scale "
            "without loss."
        )


def _law(found: Analysis) -> Iterator[str]:
    if found.fits:
        yield law_sentence(found.leading)
    elif len(found.points) >= LEAST_COUNTS:
        yield "No law is named: too few repetitions to tell laws apart, and nothing is predicted."
    elif found.points:
        yield f"No law is fitted to fewer than {LEAST_COUNTS} counts, and nothing is predicted."


def _noise(found: Analysis) -> Iterator[str]:
    for count, noise in found.noise.items():
        scale = "not determined by so few steps" if noise.rows is None else f"about {noise.rows:.0f} rows"
        yield (
            f"Gradient noise scale at {count} workers, over {noise.num_steps} steps at the begin of training: {scale}, "
            f"where a batch has {noise.batch_rows} rows."
        )
    if any(noise.rows is not None for noise in found.noise.values()):
        yield "Batches far above the noise scale save few steps (arXiv 1812.06162); it grows as training goes on."


def _targets(found: Analysis) -> Iterator[str]:
    for count, seconds in found.seconds_to_target.items():
        text = target_sentence(seconds, found.rows_to_target[count])
        yield f"To a validation accuracy of {found.raw.target_accuracy} with {_workers(count)}: {text}."
    if found.seconds_to_target:
        yield "Seconds to the target leave out the start of the workers."


def _simulation(simulation: Simulation, *, weak: bool) -> Iterator[str]:
    request = simulation.request
    alone = "as measured" if simulation.measured_alone else "from what the least count computes"
    yield (
        f"{SIMULATED_NOTE}, assuming: a node's link of {request.bandwidth:g} bytes/s, shared by its workers, and "
        f"{request.latency_s:g} s a message between nodes; {_workers(request.workers_per_node)} a node; "
        f"{request.inner_bandwidth:g} bytes/s and {request.inner_latency_s:g} s a message within a node; communication "
        f"during {100 * request.overlap:g} % of the computing; one worker's step of {1000 * simulation.compute_s:.2f} "
        f"ms, {alone}, {'which every worker takes' if weak else 'which workers share without loss'}; "
        f"{simulation.num_bytes} bytes in {simulation.num_collectives} "
        f"collective{'s' * (simulation.num_collectives > 1)} a step."
    )
    for one in simulation.steps:
        yield _simulated(one)
    if simulation.unfilled:
        yield (
            f"No hierarchical all-reduce is simulated for {_listed([str(count) for count in simulation.unfilled])} "
            f"workers, which do not fill nodes of {request.workers_per_node}."
        )


def _simulated(one: Simulated) -> str:
    text = f"{_workers(one.count)}, {one.reduction} all-reduce"
    communication = f"({1000 * one.exposed_s:.2f} of them communication)"
    if one.measured_s is None:
        return f"{SIMULATED_NOTE}: {text}, {1000 * one.step_s:.2f} ms a step {communication}."
    return (
        f"Simulated beside measured, {text}: simulated {1000 * one.step_s:.2f} ms {communication}, measured "
        f"{1000 * one.measured_s:.2f} ms."
    )


def _circumstances(found: Analysis) -> Iterator[str]:
    raw = found.raw
    if raw.placement == "spread":
        yield "Workers were put on as many nodes as possible."
    names = [host.name for host in raw.hosts]
    several = ", " in raw.commit or any(" and " in version for version in raw.versions.values())
    if several or len(set(names)) < len(names):
        yield (
            "Not all was measured alike: the commit, versions or a machine changed meanwhile, as the provenance shows, "
            "so that counts may differ for that reason."
        )


def _values(fit: Fit) -> str:
    return ", ".join(
        f"{name} = {fit.parameters[name]:.4g} ({low:.4g} to {high:.4g})" for name, (low, high) in fit.intervals.items()
    )


def _predicted(fit: Fit, count: int) -> str:
    one = fit.predict(count)
    return f"{one.throughput:.1f} rows/s ({one.low:.1f} to {one.high:.1f})"


def _setting(point: TuningPoint, *, shares: bool) -> str:
    text = f"{point.trials_at_once} trial{'s' * (point.trials_at_once > 1)} at once"
    return f"{text} with {point.gpus_per_trial:g} of a GPU each" if shares or point.gpus_per_trial else text


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
