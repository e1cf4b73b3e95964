"""The file of measurements keeps everything, and every number is computed from it alone."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from supercm_ray.errors import StudyError
from supercm_ray.records import Node, StepTimings, TimingStarted
from supercm_ray.scaling import analyse, load_measurements
from supercm_ray.scaling.repetition import Repetition

from .synthetic import measurements


def test_a_file_holds_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(measurements().model_dump_json(), encoding="utf-8")
    assert load_measurements(path) == measurements()


def test_points_by_hand() -> None:
    measured = measurements()
    found = {point.num_workers: point for point in analyse(measured).points}
    twos = [one for one in measured.repetitions if one.num_workers == 2]
    steps = [step for one in twos for step in one.step_s]
    assert found[2].step_s[1] == pytest.approx(statistics.median(steps))
    assert found[2].num_repetitions == 5
    assert found[2].num_steps == 100
    assert found[2].shares == pytest.approx(
        {"compute": 0.65, "communication": 0.2, "straggler wait": 0.1, "data": 0.05}, rel=0.25
    )
    assert sum(found[2].shares.values()) == pytest.approx(1)
    assert found[2].unlabeled_per_s == pytest.approx(3 * found[2].labeled_per_s)
    assert found[4].startup_s == statistics.median(
        one.startup_s for one in measured.repetitions if one.num_workers == 4
    )
    assert [found[count].num_nodes for count in (1, 4, 8)] == [1, 1, 2]


def test_the_whole_analysis() -> None:
    found = analyse(measurements())
    assert found.fits[0].model == "universal"
    assert found.noise[4].samples == pytest.approx(9)
    assert found.choice is not None
    assert found.seconds_to_target[2].num_censored == 1
    alone = 3600 * 12 / 390
    assert [one.trials_per_hour for one in found.tuning] == pytest.approx([alone, alone * 2**0.7, alone * 4**0.7])
    assert [(one.num_workers, one.reduction, one.measured_s is not None) for one in found.simulated] == [
        *((count, "ring", True) for count in (2, 4, 8)),
        (12, "ring", False),
        *((count, reduction, False) for count in (16, 32) for reduction in ("ring", "hierarchical")),
    ]
    assert found.simulation is not None
    assert found.simulation.unfilled == [12]


def test_half_a_study_is_analysed_too() -> None:
    assert analyse(measurements(num_workers=(1,))).fits == []
    nothing = analyse(measurements(repetitions=0, targets=(), tuning=()))
    assert nothing.points == []
    assert nothing.choice is None


@pytest.mark.parametrize(("text", "message"), [("{}", "for study: Field required"), ("[", "for the file: ")])
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        load_measurements(path)
    with pytest.raises(StudyError, match="must be readable"):
        load_measurements(tmp_path / "none.json")


@pytest.mark.parametrize("version", [1, 3])
def test_a_file_of_another_version_is_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(f'{{"version": {version}}}', encoding="utf-8")
    with pytest.raises(StudyError, match=f"must hold measurements of version 2, got version {version}; measure again"):
        load_measurements(path)


def test_a_repetition_is_made_from_what_workers_measured() -> None:
    nodes = (Node(name="a", num_cpus=2), Node(name="b"))
    timings = StepTimings(
        step_s=(0.2, 0.1, 0.3),
        labeled_samples=8,
        unlabeled_samples=24,
        data_s=0.01,
        communication_s=0.02,
        straggler_wait_s=0.03,
        compute_s=0.04,
        peak_memory_bytes=5,
        utilisation=0.5,
        gradient_bytes=6,
        num_collectives=7,
        collective_bytes=8,
        small_squares=(1.0, 2.0, 3.0),
        big_squares=(0.5, 0.6, 0.7),
        nodes=nodes,
    )
    made = Repetition.of(timings, num_workers=2, repetition=1, order=3, seed=4, started_ms=5, startup_s=6.0)
    assert made.nodes == ("a", "b")
    assert (made.samples, made.median_step_s) == (32, 0.2)
    assert made.parts_s == {"compute": 0.04, "communication": 0.02, "straggler wait": 0.03, "data": 0.01}
    assert made.metrics["samples_per_s"] == pytest.approx(160)
    for name in ("step_s", "peak_memory_bytes", "num_collectives", "small_squares", "big_squares"):
        assert getattr(made, name) == getattr(timings, name)
    assert [TimingStarted().order, timings.order] == [0, 1]
