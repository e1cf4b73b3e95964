"""The file of measurements while a study is measured: it goes on where it was, and shows what changed in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from supercm_ray.config import ScalingConfig, SimulationConfig
from supercm_ray.errors import StudyError
from supercm_ray.records import Node
from supercm_ray.scaling import load_measurements
from supercm_ray.scaling.measurements import Provenance
from supercm_ray.scaling.measurements_file import MeasurementsFile

from .synthetic import measurements

SIMULATION = SimulationConfig(num_workers=(4,), bandwidth=1.0, latency_s=0)
PROVENANCE = Provenance(study="digits", job_samples=1000, command="first", commit="", versions={})


def replace(**values: object) -> Provenance:
    return PROVENANCE.model_copy(update=values)


def test_a_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path, measured = tmp_path / "measurements.json", measurements()
    first = MeasurementsFile(path, ScalingConfig(num_workers=(1, 2)), PROVENANCE)
    first.add(measured.repetitions[0], [Node(name="a"), Node(name="a")])
    first.add(measured.tuning[0])
    first.skip("8 workers", "the cluster has room for 2")
    plan = ScalingConfig(num_workers=(1, 2), price_per_gpu_hour=2.0, simulation=SIMULATION)
    second = MeasurementsFile(path, plan, replace(command="second"))
    second.add(measured.targets[0], [Node(name="a"), Node(name="b")])
    found = load_measurements(path)
    assert found == second.content
    assert (found.repetitions, found.tuning, found.targets) == (
        measured.repetitions[:1],
        measured.tuning[:1],
        measured.targets[:1],
    )
    assert [node.name for node in found.nodes] == ["a", "b"]
    assert (found.price_per_gpu_hour, found.command, found.skipped) == (2.0, "second", {})


def test_what_was_measured_with_something_else_later_is_shown(tmp_path: Path) -> None:
    path, measured = tmp_path / "measurements.json", measurements()
    first = replace(commit="abc", versions={"torch": "2.11", "ray": "2.60"})
    plan = ScalingConfig(num_workers=(1, 2))
    MeasurementsFile(path, plan, first.model_copy(update={"commit": "never measured"}))
    MeasurementsFile(path, plan, first).add(measured.repetitions[0], [Node(name="a", num_cpus=2)])
    again = MeasurementsFile(path, plan, replace(commit="def", versions={"torch": "2.14", "ray": "2.60"}))
    assert load_measurements(path).commit == "abc", "nothing was measured by the other one yet"
    for one in measured.repetitions[1:3]:
        again.add(one, [Node(name="a", num_cpus=4), Node(name="a", num_cpus=2)])
    found = load_measurements(path)
    assert found.commit == "abc, def"
    assert found.versions == {"torch": "2.11 and 2.14", "ray": "2.60"}
    assert [node.num_cpus for node in found.nodes] == [2, 4]


def test_runs_towards_another_target_are_refused(tmp_path: Path) -> None:
    file = MeasurementsFile(
        tmp_path / "measurements.json", ScalingConfig(num_workers=(1,), target_accuracy=0.9), PROVENANCE
    )
    file.add(measurements().targets[0])
    assert MeasurementsFile(file.path, ScalingConfig(num_workers=(1,)), PROVENANCE).content.target_accuracy == 0.9
    with pytest.raises(StudyError, match=r"got scaling.target_accuracy=0.8 where .* has runs towards 0.9"):
        MeasurementsFile(file.path, ScalingConfig(num_workers=(1,), target_accuracy=0.8), PROVENANCE)
