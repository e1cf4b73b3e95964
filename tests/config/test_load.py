"""Study files: what is read, what is refused and how clearly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from supercm_ray.config import VAL_METRICS, Config, Objective, Study, load_study, why_fixed
from supercm_ray.errors import StudyError

BASE = "base: {data: {label_ratio: 0.1}}\n"
SPACE = "space: {algorithm.temperature: {type: float, low: 0.5, high: 2}}\n"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", ".1e-2", "+1e-3"])
def test_a_number_may_be_written_with_an_exponent(write, text: str) -> None:
    path = write(f"base: {{data: {{label_ratio: 0.1}}, training: {{learning_rate: {text}, weight_decay: 1e2}}}}\n")
    training = load_study(path).base.training
    assert (training.learning_rate, training.weight_decay) == (0.001, 100.0)
    assert load_study(path, [f"algorithm.temperature={text}"]).base.algorithm.temperature == 0.001


def test_the_name_is_the_file_s_unless_it_is_given(write) -> None:
    assert load_study(write(BASE, "first.yaml")).name == "first"
    assert load_study(write(f"{BASE}name: other\n", "first.yaml")).name == "other"


def test_a_date_is_text(write) -> None:
    assert load_study(write(f"{BASE}name: 2026-01-31\n")).name == "2026-01-31"


def test_one_objective_may_stand_without_a_list(write) -> None:
    alone = load_study(write(f"{BASE}objective: {{metric: val/loss, direction: minimize}}\n"))
    listed = load_study(write(f"{BASE}objective: [{{metric: val/loss, direction: minimize}}]\n"))
    assert alone == listed
    assert alone.objective == (Objective(metric="val/loss", direction="minimize"),)
    for metric in ("val/balanced_accuracy", "val/f1_macro", "val/ece"):
        given = f"{BASE}objective: {{metric: {metric}, direction: {VAL_METRICS[metric]}}}\n"
        assert load_study(write(given)).primary.metric == metric
    assert load_study(write(BASE)).objective == (Objective(metric="val/accuracy", direction="maximize"),)


def test_primary_and_factors_follow_from_the_objectives(write) -> None:
    study = load_study(
        write(
            f"{BASE}space: {{data.label_ratio: {{type: categorical, choices: [0.1, 0.2]}}}}\n"
            "objective:\n- {metric: data.label_ratio, direction: minimize}\n- {metric: val/loss, direction: minimize}\n"
        )
    )
    assert study.primary.metric == "val/loss"
    assert study.group_paths == ("data.label_ratio",)
    assert study.group({"data.label_ratio": 0.2, "algorithm.temperature": 1.0}) == (0.2,)


def test_overrides_reach_base_and_study(small_study: Path) -> None:
    overrides = ["algorithm.temperature=2", "budget.num_trials=9", "budget.max_concurrent_trials=1", "num_seeds=1"]
    study = load_study(small_study, [*overrides, "model.options.channels=[4, 6]", "seed=8", "name=other"])
    assert study.base.algorithm.temperature == 2.0
    assert (study.budget.num_trials, study.budget.max_concurrent_trials, study.num_seeds) == (9, 1, 1)
    assert (study.base.model.options.channels, study.base.seed, study.name) == ((4, 6), 8, "other")
    plain = load_study(small_study)
    assert study.space == plain.space
    assert study.base.training == plain.base.training


def test_a_rule_between_two_keys_holds_after_all_overrides(small_study: Path) -> None:
    study = load_study(small_study, ["training.num_epochs=1", "scheduler.options.grace_period=1"])
    assert study.base.training.num_epochs == 1
    with pytest.raises(StudyError, match="got grace_period=2, num_epochs=1"):
        load_study(small_study, ["training.num_epochs=1", "scheduler.options.grace_period=2"])


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=0.5",
        "seed=1",
        "data.test_fraction=0.3",
        "sampler.seed=4",
        "scheduler.options.reduction_factor=3",
    ],
)
def test_identity_changes_with_what_results_depend_on(small_study: Path, override: str) -> None:
    assert load_study(small_study, [override]).identity() != load_study(small_study).identity()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("low: 0.05", "low: 0.06"),
        ("[0.05, 0.1]", "[0.05, 0.1, 0.2]"),
        ("minimize", "maximize"),
        ("clustering_weight: 1.0", "clustering_weight: 2.0"),
        ("clustering_weight: 0.0", "clustering_weight: 0.5"),
    ],
)
def test_identity_changes_with_space_objective_points_and_control(small_study: Path, old: str, new: str) -> None:
    before, text = load_study(small_study).identity(), small_study.read_text()
    assert old in text
    small_study.write_text(text.replace(old, new))
    assert load_study(small_study).identity() != before


@pytest.mark.parametrize("override", ["budget.num_trials=99", "num_seeds=9", "name=other", "budget.cpus_per_worker=2"])
def test_identity_keeps_when_only_the_budget_or_the_name_changes(small_study: Path, override: str) -> None:
    study = load_study(small_study, [override])
    assert study.model_dump() != load_study(small_study).model_dump()
    assert study.identity() == load_study(small_study).identity()


def test_a_study_as_resolved_is_a_study_file(small_study: Path, write) -> None:
    study = load_study(small_study)
    assert load_study(write(study.model_dump_json(), "small.json")).model_dump() == study.model_dump()


def test_a_study_is_frozen(small_study: Path) -> None:
    study = load_study(small_study)
    for thing, name in ((study, "num_seeds"), (study.base, "seed"), (study.base.training, "num_epochs")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(thing, name, 7)
    assert (study.num_seeds, study.base.seed, study.base.training.num_epochs) == (2, 0, 3)


def test_replace_sets_leaves_and_leaves_the_original(small_study: Path) -> None:
    base = load_study(small_study).base
    other = base.replace({"algorithm.temperature": 3, "model.options.channels": [2, 3], "seed": 5})
    assert (other.algorithm.temperature, other.model.options.channels, other.seed) == (3.0, (2, 3), 5)
    changed = {path for path, value in base.leaves().items() if other.leaves()[path] != value}
    assert changed == {"algorithm.temperature", "model.options.channels", "seed"}
    assert base == load_study(small_study).base


@pytest.mark.parametrize(
    "overrides",
    [
        {"algorithm.temperature": 0},
        {"training.num_epochs": 1.5},
        {"data.labels_per_class": 2},
        {"algorithm.centroid_rule": "none"},
    ],
)
def test_replace_validates(small_study: Path, overrides: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        load_study(small_study).base.replace(overrides)


@pytest.mark.parametrize("path", ["algorithm.temprature", "algorithm", "nothing.at.all", "seed.x"])
def test_replace_refuses_what_is_no_leaf(small_study: Path, path: str) -> None:
    with pytest.raises(KeyError):
        load_study(small_study).base.replace({path: 1})


def test_leaves_name_every_setting_by_its_dotted_path(small_study: Path) -> None:
    leaves = load_study(small_study).base.leaves()
    assert leaves["training.learning_rate"] == 0.01
    assert leaves["model.options.channels"] == (4, 8)
    assert leaves["seed"] == 0
    assert {path.partition(".")[0] for path in leaves} == set(Config.model_fields)
    assert not any(isinstance(value, dict) for value in leaves.values())


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        ("{type: categorical, choices: [1, 2]}", "true"),
        ("{type: categorical, choices: [1, 2]}", "1.0"),
        ("{type: int, low: 1, high: 9, step: 4}", "3"),
        ("{type: int, low: 1, high: 9}", "2.0"),
        ("{type: int, low: 1, high: 9}", "true"),
    ],
)
def test_a_point_takes_only_values_that_the_search_could_propose(write, distribution: str, value: str) -> None:
    text = (
        "base: {data: {labels_per_class: 1}}\n"
        f"space: {{data.labels_per_class: {distribution}}}\n"
        f"enqueued_trials: [{{data.labels_per_class: {value}}}]\n"
    )
    with pytest.raises(StudyError, match=r"enqueued_trials\[0\]\.data\.labels_per_class"):
        load_study(write(text))


def test_a_point_at_the_ends_of_a_range_is_inside(write) -> None:
    enqueued_trials = "enqueued_trials: [{algorithm.temperature: 0.5}, {algorithm.temperature: 2}, {}]\n"
    study = load_study(write(BASE + SPACE + enqueued_trials))
    assert isinstance(study, Study)
    assert study.enqueued_trials == ({"algorithm.temperature": 0.5}, {"algorithm.temperature": 2}, {})


@pytest.mark.parametrize("path", ["label_ratio", "labels_per_class", "shift_pixels", "flip", "noise_std"])
def test_labels_and_augmentation_of_the_data_may_be_varied(path: str) -> None:
    assert why_fixed(f"data.{path}") is None


@pytest.mark.parametrize(
    "path",
    [
        "seed",
        "training.num_epochs",
        "data.name",
        "data.root",
        "data.target.name",
        "data.options.file",
        "data.num_val",
    ],
)
def test_what_all_trials_share_may_not(path: str) -> None:
    assert why_fixed(path)


def test_an_algorithm_of_unlabeled_samples_needs_some(write) -> None:
    load_study(write(BASE), ["training.unlabeled_batch_size=0"])
    with pytest.raises(StudyError, match=r"`unlabeled_batch_size >= 1` must hold for base\.training"):
        load_study(write(BASE), ["training.unlabeled_batch_size=0", "algorithm.name=fixmatch"])


@pytest.mark.parametrize("algorithm", ["dann", "cdan", "mcc"])
def test_an_algorithm_for_domain_adaptation_needs_a_target(write, algorithm: str) -> None:
    load_study(write(BASE), [f"algorithm.name={algorithm}", "data.target={name: mnist}"])
    rule = r"an algorithm for domain adaptation needs a target must hold for base\.data\.target"
    with pytest.raises(StudyError, match=rf"{rule} in broken\.yaml.*, got none with algorithm\.name={algorithm}; give"):
        load_study(write(BASE), [f"algorithm.name={algorithm}"])


def test_on_and_off_are_words(write) -> None:
    study = load_study(
        write(BASE), ["training.compile=on", "data.name=image_folder", "data.options.stream=off", "data.flip=true"]
    )
    assert (study.base.training.compile, study.base.data.options.stream, study.base.data.flip) == ("on", "off", True)


def test_credentials_have_no_place_in_a_study_and_are_not_repeated(write) -> None:
    with pytest.raises(
        StudyError, match=r"without credentials, .* must hold for base\.training\.storage_path"
    ) as caught:
        load_study(write(BASE), ["training.storage_path=s3://key:topsecret@bucket/runs"])
    assert "topsecret" not in str(caught.value).split(" with ")[0]
