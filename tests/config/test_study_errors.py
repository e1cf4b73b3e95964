"""Study files: what is read, what is refused and how clearly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from supercm_ray.config import load_study
from supercm_ray.errors import StudyError

BASE = "base: {data: {label_ratio: 0.1}}\n"
SPACE = "space: {algorithm.temperature: {type: float, low: 0.5, high: 2}}\n"
FRONT = "objective: [{metric: val/accuracy, direction: maximize}, {metric: %s, direction: minimize}]\n"


def refusal(path: Path, *overrides: str) -> str:
    """The one line with which a study file is refused."""
    with pytest.raises(StudyError) as caught:
        load_study(path, overrides)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert path.name in message
    assert "\n" not in message
    assert "should" not in message, "pydantic's own sentence is not passed on as it is"
    return message


@dataclasses.dataclass(frozen=True)
class Broken:
    """A study file with one broken rule: its dotted path, the value got and the remedy or rule."""

    text: str
    place: str
    got: str
    remedy: str


def space(path: str, distribution: str) -> str:
    return f"{BASE}space: {{{path}: {distribution}}}\n"


BROKEN = {
    "unknown key": Broken(f"{BASE}budegt: {{num_trials: 3}}\n", "`budegt`", "{'num_trials': 3}", "`budget`?"),
    "unknown key in base": Broken(
        "base: {data: {label_ratio: 0.1}, algorithm: {temprature: 2}}\n",
        "`base.algorithm.temprature`",
        "got 2",
        "did you mean `temperature`?",
    ),
    "unknown key in budget": Broken(f"{BASE}budget: {{num_trial: 3}}\n", "`budget.num_trial`", "3", "`num_trials`?"),
    "unknown key in a distribution": Broken(
        space("algorithm.temperature", "{type: float, low: 1, high: 2, logg: true}"),
        "`space.algorithm.temperature.logg`",
        "True",
        "did you mean `log`?",
    ),
    "no base": Broken("num_seeds: 3\n", "`base`", "nothing", "The configuration that `train` runs"),
    "choice of all labels": Broken(
        "base: {data: {label_choice: typical}}\n",
        "for base.data.label_choice",
        "typical, with neither label_ratio nor labels_per_class",
        "set one of these, or omit label_choice",
    ),
    "choice of listed labels": Broken(
        "base: {data: {label_choice: typical, labels_per_class: 1, splits: labels.npy}}\n",
        "for base.data.label_choice",
        "splits=labels.npy, which lists the labeled samples",
        "omit it, or the file",
    ),
    "unknown choice": Broken(
        "base: {data: {label_choice: typicel, labels_per_class: 1}}\n",
        "`base.data.label_choice`",
        "'typicel'",
        "'random', 'typical' or 'coverage'",
    ),
    "searched choice of all labels": Broken(
        "base: {data: {name: digits}}\nspace: {data.label_choice: {type: categorical, choices: [random, coverage]}}\n",
        "for space.data.label_choice.choices[1]",
        "'coverage'",
        "set one of these, or omit label_choice",
    ),
    "empty base": Broken("base:\n", "`base`", "None", "object"),
    "no data": Broken("base: {}\n", "`base.data`", "nothing", "add it"),
    "range": Broken(
        "base: {data: {label_ratio: 0.1}, training: {learning_rate: -1}}\n",
        "`base.training.learning_rate`",
        "got -1",
        "greater than 0",
    ),
    "upper end": Broken("base: {data: {label_ratio: 1.5}}\n", "`base.data.label_ratio`", "got 1.5", "equal to 1"),
    "text for a number": Broken(
        "base: {data: {label_ratio: 0.1}, training: {learning_rate: fast}}\n",
        "`base.training.learning_rate`",
        "'fast'",
        "a valid number",
    ),
    "number for an integer": Broken(
        "base: {data: {label_ratio: 0.1}, training: {num_epochs: 2.5}}\n",
        "`base.training.num_epochs`",
        "2.5",
        "integer",
    ),
    "boolean for an integer": Broken(
        "base: {seed: true, data: {label_ratio: 0.1}}\n", "`base.seed`", "True", "a valid integer"
    ),
    "not a number": Broken("base: {data: {label_ratio: .nan}}\n", "`base.data.label_ratio`", "nan", "finite"),
    "unknown rule": Broken(
        "base: {data: {label_ratio: 0.1}, algorithm: {centroid_rule: emaa}}\n",
        "`base.algorithm.centroid_rule`",
        "'emaa'",
        "'running_mean', 'class_count' or 'ema'",
    ),
    "unknown sampler": Broken(f"{BASE}sampler: {{name: tpee}}\n", "sampler.name", "'tpee'", "did you mean `tpe`?"),
    "item of a list": Broken(
        "base: {data: {label_ratio: 0.1}, model: {options: {channels: [4, x]}}}\n",
        "base.model.options.channels[1]",
        "'x'",
        "integer",
    ),
    "both label settings": Broken(
        "base: {data: {label_ratio: 0.1, labels_per_class: 3}}\n",
        "base.data",
        "label_ratio=0.1, labels_per_class=3",
        "set one, omit the other",
    ),
    "no row to train on": Broken(
        "base: {data: {label_ratio: 0.1, val_fraction: 0.5, test_fraction: 0.5}}\n",
        "base.data",
        "val_fraction=0.5, test_fraction=0.5",
        "leave samples to train on",
    ),
    "channels": Broken(
        "base: {data: {label_ratio: 0.1}, model: {options: {channels: [4, 0]}}}\n",
        "base.model.options.channels",
        "channels=[4, 0]",
        "`channels >= 1`",
    ),
    "unknown distribution": Broken(
        space("algorithm.temperature", "{type: floaty, low: 1, high: 2}"),
        "space.algorithm.temperature",
        "'floaty'",
        "did you mean `float`?",
    ),
    "no distribution type": Broken(
        space("algorithm.temperature", "{low: 1, high: 2}"),
        "space.algorithm.temperature",
        "None",
        "`categorical`, `float`, `int`",
    ),
    "no distribution": Broken(
        space("algorithm.temperature", "3"), "`space.algorithm.temperature`", "got 3", "an object"
    ),
    "no upper bound": Broken(
        space("algorithm.temperature", "{type: float, low: 1}"),
        "`space.algorithm.temperature.high`",
        "nothing",
        "add it",
    ),
    "swapped bounds": Broken(
        space("algorithm.temperature", "{type: float, low: 2, high: 1}"),
        "space.algorithm.temperature",
        "low=2, high=1",
        "swap or widen them",
    ),
    "swapped integer bounds": Broken(
        space("training.labeled_batch_size", "{type: int, low: 20, high: 10}"),
        "space.training.labeled_batch_size",
        "low=20, high=10",
        "swap or widen them",
    ),
    "zero on a log scale": Broken(
        space("algorithm.clustering_weight", "{type: float, low: 0, high: 1, log: true}"),
        "space.algorithm.clustering_weight",
        "low=0",
        "raise low or omit log",
    ),
    "log and step": Broken(
        space("algorithm.clustering_weight", "{type: float, low: 1, high: 9, log: true, step: 2}"),
        "space.algorithm.clustering_weight",
        "step=2",
        "omit one",
    ),
    "a choice twice": Broken(
        space("training.labeled_batch_size", "{type: categorical, choices: [5, 5]}"),
        "space.training.labeled_batch_size.choices",
        "choices=[5, 5]",
        "each choice once",
    ),
    "no choice": Broken(
        space("training.labeled_batch_size", "{type: categorical, choices: []}"),
        "`space.training.labeled_batch_size.choices`",
        "[]",
        "at least 1 item",
    ),
    "a list for a choice": Broken(
        space("model.options.channels", "{type: categorical, choices: [[4, 8]]}"),
        "space.model.options.channels.choices[0]",
        "[4, 8]",
        "",
    ),
    "unknown searched path": Broken(
        space("algorithm.temprature", "{type: float, low: 1, high: 2}"),
        "space.algorithm.temprature",
        "'algorithm.temprature'",
        "did you mean `algorithm.temperature`?",
    ),
    "searched seed": Broken(
        space("seed", "{type: int, low: 1, high: 2}"), "space.seed", "'seed'", "must not be chosen by a lucky seed"
    ),
    "searched budget": Broken(
        space("training.num_epochs", "{type: int, low: 1, high: 2}"),
        "space.training.num_epochs",
        "'training.num_epochs'",
        "all trials share one budget",
    ),
    "an end that does not fit": Broken(
        space("algorithm.temperature", "{type: float, low: -1, high: 1}"),
        "space.algorithm.temperature.low",
        "-1.0",
        "greater than 0",
    ),
    "real numbers for an integer": Broken(
        space("training.labeled_batch_size", "{type: float, low: 10, high: 20}"),
        "space.training.labeled_batch_size.low",
        "10.0",
        "integer",
    ),
    "a choice that does not fit": Broken(
        space("algorithm.centroid_rule", "{type: categorical, choices: [ema, mean]}"),
        "space.algorithm.centroid_rule.choices[1]",
        "'mean'",
        "'running_mean', 'class_count' or 'ema'",
    ),
    "a searched path that contradicts base": Broken(
        space("data.labels_per_class", "{type: categorical, choices: [1, 2]}"),
        "space.data.labels_per_class.choices[0]",
        "1",
        "set one, omit the other",
    ),
    "a point outside": Broken(
        f"{BASE}{SPACE}enqueued_trials: [{{algorithm.temperature: 3}}]\n",
        "enqueued_trials[0].algorithm.temperature",
        "3, with low=0.5, high=2.0",
        "widen the space or change the value",
    ),
    "a point's unknown path": Broken(
        f"{BASE}{SPACE}enqueued_trials: [{{}}, {{algorithm.temprature: 1}}]\n",
        "enqueued_trials[1].algorithm.temprature",
        "1",
        "did you mean `algorithm.temperature`?",
    ),
    "a point without a value": Broken(
        f"{BASE}{SPACE}enqueued_trials: [{{algorithm.temperature: null}}]\n",
        "enqueued_trials[0].algorithm.temperature",
        "None",
        "",
    ),
    "unknown baseline": Broken(
        f"{BASE}baseline: {{algorithm.clusterin_weight: 0}}\n",
        "baseline.algorithm.clusterin_weight",
        "'algorithm.clusterin_weight'",
        "did you mean `algorithm.clustering_weight`?",
    ),
    "a baseline that does not fit": Broken(
        f"{BASE}baseline: {{algorithm.clustering_weight: -2}}\n",
        "baseline.algorithm.clustering_weight",
        "-2",
        "greater than or equal to 0",
    ),
    "a baseline without a value": Broken(
        f"{BASE}baseline: {{algorithm.clustering_weight: null}}\n", "baseline.algorithm.clustering_weight", "None", ""
    ),
    "a fixed baseline": Broken(
        f"{BASE}baseline: {{data.split_seed: 3}}\n",
        "baseline.data.split_seed",
        "'data.split_seed'",
        "share one data set",
    ),
    "selection by test": Broken(
        f"{BASE}objective: {{metric: test/accuracy, direction: maximize}}\n",
        "objective[0].metric",
        "'test/accuracy'",
        "select by validation: `val/accuracy`",
    ),
    "unknown objective": Broken(
        f"{BASE}objective: {{metric: val/acuracy, direction: maximize}}\n",
        "objective[0].metric",
        "'val/acuracy'",
        "did you mean `val/accuracy`?",
    ),
    "unknown direction": Broken(
        f"{BASE}objective: {{metric: val/accuracy, direction: up}}\n",
        "`objective[0].direction`",
        "'up'",
        "'maximize' or 'minimize'",
    ),
    "no direction": Broken(
        f"{BASE}objective: {{metric: val/accuracy}}\n", "`objective[0].direction`", "nothing", "add it"
    ),
    "no objective": Broken(f"{BASE}objective: []\n", "`objective`", "[]", "at least 1 item"),
    "an objective twice": Broken(
        f"{BASE}{FRONT % 'val/accuracy'}", "objective", "['val/accuracy', 'val/accuracy']", "each objective once"
    ),
    "no metric among objectives": Broken(
        f"{BASE}space: {{data.label_ratio: {{type: categorical, choices: [0.1, 0.2]}}}}\n"
        "objective: {metric: data.label_ratio, direction: minimize}\n",
        "objective",
        "['data.label_ratio']",
        "add one of `val/accuracy`",
    ),
    "a group path without groups": Broken(
        f"{BASE}{SPACE}{FRONT % 'algorithm.temperature'}",
        "space.algorithm.temperature",
        "a float distribution",
        "make it categorical or int",
    ),
    "grace period": Broken(
        f"{BASE}scheduler: {{options: {{grace_period: 99}}}}\n",
        "scheduler.options.grace_period",
        "grace_period=99, num_epochs=20",
        "`grace_period <= base.training.num_epochs`",
    ),
    "a key twice": Broken(f"{BASE}base: {{}}\n", "line 2, column 1", "`base`", "given twice"),
    "a nested key twice": Broken(
        "base:\n  data: {label_ratio: 0.1}\n  data: {label_ratio: 0.2}\n", "line 3, column 3", "`data`", "given twice"
    ),
    "no YAML": Broken("base: {a: [}\n", "line 1, column 12", "'}'", "expected"),
    "an object of Python's": Broken("base: !!python/object:os.system {}\n", "line 1, column 7", "python/object", ""),
    "a baseline character": Broken("base: \x00\n", "", "#x0000", ""),
    "a date": Broken(f"{BASE}name: !!timestamp 2020-01-01\n", "line 2, column 7", "`!!timestamp`", "remove it"),
    "a tag": Broken(f"{BASE}num_seeds: !!int 3\n", "line 2, column 12", "`!!int`", "put text in quotes"),
    "a file that contains itself": Broken("base: &b {data: *b}\n", "", "", ""),
    "a file nested without end": Broken(f"base: {'[' * 3000}{']' * 3000}\n", "", "", ""),
    "empty": Broken("", "`base`", "an empty file", "a mapping"),
    "a list": Broken("- 1\n", "`base`", "list", "a mapping"),
    "a name with a slash": Broken(f"{BASE}name: a/b\n", "`name`", "'a/b'", "[A-Za-z0-9]"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_one_clear_line(write, broken: Broken) -> None:
    message = refusal(write(broken.text))
    for part in (broken.place, broken.got, broken.remedy):
        assert part in message


OVERRIDES = {
    "no separator": ("training.learning_rate", "'training.learning_rate'", "`key=value`"),
    "no key": ("=3", "'=3'", "`key=value`"),
    "unknown leaf": ("training.learning_rat=1", "`training.learning_rat`", "did you mean `training.learning_rate`?"),
    "unknown study key": ("budget.num_trail=3", "`budget.num_trail`", "did you mean `budget.num_trials`?"),
    "a room, not a leaf": ("algorithm=1", "`algorithm`", "known here: `algorithm.balance_alpha`"),
    "below a leaf": ("training.learning_rate.a.b=1", "`training.learning_rate.a.b`", "`training.learning_rate`?"),
    "out of range": ("algorithm.temperature=-1", "`base.algorithm.temperature`", "greater than 0"),
    "wrong type": ("budget.num_trials=many", "`budget.num_trials`", "a valid integer"),
    "empty": ("algorithm.temperature=", "`base.algorithm.temperature`", "a valid number"),
    "contradiction": ("data.labels_per_class=4", "base.data", "set one, omit the other"),
    "no YAML": ("algorithm.temperature=[", "'algorithm.temperature=['", "YAML"),
    "a number that is none": ("algorithm.temperature=!!int abc", "abc", "YAML"),
}


@pytest.mark.parametrize(("override", "place", "remedy"), OVERRIDES.values(), ids=OVERRIDES)
def test_a_broken_override_is_refused_in_one_clear_line(write, override: str, place: str, remedy: str) -> None:
    path = write(BASE)
    with pytest.raises(StudyError) as caught:
        load_study(path, [override])
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert place in message
    assert override.partition("=")[2] in message
    assert remedy in message


def test_several_broken_rules_are_a_line_each(write) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write("base: {data: {label_ratio: 2}, seed: -1}\nnum_sseeds: 2\n"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for name in ("base.data.label_ratio", "base.seed", "num_sseeds"):
        assert sum(name in line for line in lines) == 1


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path / name)
    assert "cannot read the study file" in message
    assert "give the path of a YAML file" in message


def test_a_file_that_is_no_text_is_named(write) -> None:
    assert "cannot read the study file" in refusal(write(b"base: \xff\xfe"))


def test_a_file_name_that_cannot_name_a_study_is_refused(write) -> None:
    assert "'my study'" in refusal(write(BASE, "my study.yaml"))


def test_a_searched_objective_must_be_a_number(write) -> None:
    text = BASE + "space: {algorithm.centroid_rule: {type: categorical, choices: [ema, class_count]}}\n"
    message = refusal(write(text + FRONT % "algorithm.centroid_rule"))
    assert "a searched objective is a number must hold for space.algorithm.centroid_rule" in message
    assert "take it out of the objectives" in message


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("+7", 7)])
def test_whole_numbers_are_decimal(write, text: str, value: int) -> None:
    assert load_study(write(f"base: {{seed: {text}, data: {{label_ratio: 0.1}}}}")).base.seed == value


def test_sixty_based_numbers_are_text(write) -> None:
    assert "valid integer" in refusal(write("base: {seed: 1:30, data: {label_ratio: 0.1}}"))


def test_a_metric_of_the_target_needs_a_target(write) -> None:
    text = BASE + SPACE + "objective: {metric: target/entropy, direction: minimize}\n"
    assert "a metric of the target needs a target must hold for objective[0].metric" in refusal(write(text))
