"""The scaling section: read, checked, overridden and shown like all of a study file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest

from supercm_ray.config import (
    ScalingConfig,
    SimulationConfig,
    Study,
    change_study,
    check_scaling,
    load_study,
    scaling_of,
)
from supercm_ray.errors import StudyError

SECTION = "scaling: {num_workers: [1, 2], repetitions: 4}\n"


@pytest.fixture
def with_section(small_study: Path) -> Path:
    small_study.write_text(small_study.read_text() + SECTION)
    return small_study


def test_a_section_is_read(with_section: Path) -> None:
    assert load_study(with_section).scaling == ScalingConfig(num_workers=(1, 2), repetitions=4)


def test_overrides_have_the_same_names(with_section: Path) -> None:
    words = ["scaling.num_workers=[1,2,4]", "scaling.mode=weak", "scaling.gpu_fractions=[]"]
    expected = ScalingConfig(num_workers=(1, 2, 4), repetitions=4, mode="weak")
    assert load_study(with_section, words).scaling == expected


def test_overrides_begin_a_section(small_study: Path) -> None:
    words = ["scaling.num_workers=[2]", "scaling.simulation.num_workers=[4]", "scaling.simulation.bandwidth=1e9"]
    simulation = SimulationConfig(num_workers=(4,), bandwidth=1e9)
    assert load_study(small_study, words).scaling == ScalingConfig(num_workers=(2,), simulation=simulation)


def test_the_section_is_no_part_of_a_tuned_study(with_section: Path) -> None:
    study = load_study(with_section)
    others = [study.model_copy(update={"scaling": None}), load_study(with_section, ["scaling.repetitions=9"])]
    assert {other.identity() for other in others} == {study.identity()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("scaling.repetitions=3", "something to measure must hold for scaling in small.yaml"),
        ("scaling.num_workers=[1,1]", "whole numbers from 1 on, each once must hold for scaling.num_workers"),
        ("scaling.trials_at_once=[0]", "whole numbers from 1 on, each once must hold for scaling.trials_at_once"),
        ("scaling.num_workers=[1] scaling.mode=both", "`scaling.mode` must be 'strong' or 'weak'"),
        ("scaling.num_workers=[1] scaling.repetitions=0", "`scaling.repetitions` must be greater than or equal to 1"),
        (
            "scaling.trials_at_once=[1] scaling.target_accuracy=0.9",
            "numbers of workers for `target_accuracy` must hold for scaling.num_workers",
        ),
        (
            "scaling.trials_at_once=[1] scaling.gpu_fractions=[-0.5]",
            "fractions of a GPU, none below 0 and each once must hold for scaling.gpu_fractions",
        ),
        ("scaling.trials_at_once=[1] scaling.gpu_fractions=[.nan]", "`scaling.gpu_fractions[0]` must be"),
        (
            "scaling.num_workers=[1] scaling.gpu_fractions=[0.5]",
            "concurrent trials that share GPUs must hold for scaling.trials_at_once",
        ),
        (
            "scaling.trials_at_once=[1] scaling.simulation.num_workers=[4] scaling.simulation.bandwidth=1",
            "numbers of workers for `simulation` must hold for scaling.num_workers",
        ),
        (
            "scaling.num_workers=[1] scaling.efficiency_floor=1.5",
            "`scaling.efficiency_floor` must be less than or equal",
        ),
        ("scaling.num_workers=[1] scaling.price_per_gpu_hour=.inf", "`scaling.price_per_gpu_hour` must be"),
        ("scaling.num_workers=[1] scaling.placement=near", "`scaling.placement` must be 'pack' or 'spread'"),
        ("scaling.num_worker=[1]", "did you mean `scaling.num_workers`?"),
        (
            "scaling.num_workers=[1] scaling.simulation.num_workers=[4]",
            "the key `scaling.simulation.bandwidth` must stand",
        ),
        (
            "scaling.num_workers=[1] scaling.simulation.bandwidth=1",
            "the key `scaling.simulation.num_workers` must stand",
        ),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(small_study: Path, words: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(small_study, words.split())
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("bandwidth", value) for value in (math.nan, math.inf, 0.0, -1.0)),
        *(("latency_s", value) for value in (math.nan, math.inf, -1.0)),
        *(("workers_per_node", 0), ("overlap", 2.0), ("inner_bandwidth", math.nan), ("inner_latency_s", math.inf)),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_a_line(small_study: Path, name: str, value: float) -> None:
    study = load_study(small_study, ["scaling.num_workers=[1]"])
    simulation = {"num_workers": [4], "bandwidth": 1e9, name: value}
    with pytest.raises(StudyError, match=rf"^[^\n]*`scaling.simulation.{name}` must [^\n]*$"):
        change_study(study, {"scaling.simulation": simulation}, name)


def check(study: Study) -> None:
    check_scaling(study, scaling_of(study))


def test_several_workers_of_a_trial_share_no_gpu(small_study: Path) -> None:
    words = ["scaling.trials_at_once=[1]", "scaling.gpu_fractions=[0.5]"]
    check(load_study(small_study, words))
    check(load_study(small_study, [words[0], "scaling.gpu_fractions=[0, 1]", "budget.num_workers=2"]))
    two = load_study(small_study, [*words, "budget.num_workers=2"])
    with pytest.raises(StudyError, match=r"no GPU or one, got scaling.gpu_fractions=\[0.5\] with budget.num_workers=2"):
        check(two)


def test_batches_must_be_shared_evenly(small_study: Path) -> None:
    with pytest.raises(StudyError, match=r"labeled_batch_size .* must be a multiple of 3 .*, got 8"):
        check(load_study(small_study, ["scaling.num_workers=[1,3]"]))
    weak = load_study(small_study, ["scaling.num_workers=[1,3]", "scaling.mode=weak"])
    check(weak)
    sizes = {"training.labeled_batch_size": 24, "training.unlabeled_batch_size": 24}
    assert scaling_of(weak).batch_sizes(weak, 3) == sizes


def test_a_search_needs_a_space(write) -> None:
    path = write("base: {data: {label_ratio: 0.1}}\nscaling: {trials_at_once: [1]}\n")
    with pytest.raises(StudyError, match=r"a space to search must stand in broken\.yaml for scaling\.trials_at_once"):
        check(load_study(path))


def test_a_study_without_a_section_is_not_measured(small_study: Path) -> None:
    with pytest.raises(StudyError, match=r"the section `scaling` must stand in small\.yaml"):
        scaling_of(load_study(small_study))


def test_the_json_schema_shows_the_section(with_section: Path) -> None:
    schema = Study.model_json_schema()
    study = json.loads(load_study(with_section).model_dump_json())
    jsonschema.validate(study, schema)
    for name in ("ScalingConfig", "SimulationConfig"):
        fields = schema["$defs"][name]["properties"]
        assert all(len(field.get("description", "")) > 15 for field in fields.values()), name
    study["scaling"]["num_worker"] = [1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(study, schema)
