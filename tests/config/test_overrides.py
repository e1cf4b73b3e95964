"""Overrides of what is searched, and of the space itself."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from supercm_ray.config import load_for_training, load_study
from supercm_ray.errors import StudyError, nearest

BASE = "base: {data: {label_ratio: 0.1}}\n"
WEIGHT, RATIO = "algorithm.clustering_weight", "data.label_ratio"


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="supercm_ray"):
        yield


def test_an_override_of_a_searched_key_fixes_it(small_study: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = load_study(small_study, [f"{RATIO}=0.05"])
    assert study.base.data.label_ratio == 0.05
    assert list(study.space) == [WEIGHT]
    assert study.enqueued_trials == ({WEIGHT: 1.0},)
    assert [objective.metric for objective in study.objective] == ["val/accuracy"]
    assert caplog.messages == [
        "`data.label_ratio` is fixed at 0.05 and no longer searched; it is left out of enqueued_trials and objective"
    ]


def test_a_distribution_is_added_changed_and_removed(small_study: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = load_study(small_study, ["space.algorithm.temperature={type: float, low: 1, high: 2}"])
    assert (study.space["algorithm.temperature"].ends(), len(study.space)) == ({"low": 1.0, "high": 2.0}, 3)
    study = load_study(small_study, [f"space.{WEIGHT}={{type: categorical, choices: [0.5, 1.0]}}"])
    assert study.space[WEIGHT].ends() == {"choices[0]": 0.5, "choices[1]": 1.0}
    study = load_study(small_study, [f"space.{WEIGHT}.high=9", f"space.{WEIGHT}.log=false"])
    assert (study.space[WEIGHT].ends(), study.space[WEIGHT].log) == ({"low": 0.05, "high": 9.0}, False)
    assert caplog.messages == []
    study = load_study(small_study, [f"space.{WEIGHT}=null"])
    assert list(study.space) == [RATIO]
    assert study.enqueued_trials == ({RATIO: 0.1},)
    assert caplog.messages == [
        f"`{WEIGHT}` keeps the value of `base` and no longer searched; it is left out of enqueued_trials"
    ]


def test_a_key_may_be_set_and_searched_at_once(small_study: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = load_study(small_study, [f"{WEIGHT}=2", f"space.{WEIGHT}.high=9"])
    assert (study.base.algorithm.clustering_weight, study.space[WEIGHT].ends()["high"]) == (2.0, 9.0)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("space.algorithm.temprature={type: float, low: 1, high: 2}", "did you mean `algorithm.temperature`?"),
        (f"space.{WEIGHT}.hihg=9", "did you mean `high`?"),
        ("space.algorithm.clustering_weigth=null", f"did you mean `space.{WEIGHT}`?"),
        (f"space.{WEIGHT}.high=0.01", "`low < high` must hold"),
        (f"space.{WEIGHT}.high=0.5", "an enqueued trial lies inside the space"),
    ],
)
def test_a_wrong_change_of_the_space_is_one_line(small_study: Path, override: str, expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(small_study, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_training_does_not_mind_what_only_a_search_uses(small_study: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = load_for_training(small_study, [f"{WEIGHT}=2"])
    assert (list(plain.space), caplog.messages) == ([WEIGHT, RATIO], []), "the same study, so that a run is resumed"
    for overrides in (["scheduler.options.grace_period=99"], ["budget.num_trials=0"], [f"space.{WEIGHT}.low=-1"]):
        with pytest.raises(StudyError):
            load_study(small_study, overrides)
        study = load_for_training(small_study, [*overrides, "training.num_epochs=1"])
        assert (study.base.training.num_epochs, study.space) == (1, {})
    assert [message.split(":")[0] for message in caplog.messages] == 3 * [
        "only the base is trained, and what a search would refuse is left out"
    ]
    for override in ("training.num_epochs=0", "budget.num_workers=3", "objective={metric: val/x, direction: minimize}"):
        with pytest.raises(StudyError, match="must"):
            load_for_training(small_study, [override])


def test_a_name_on_the_command_line_names_a_file_of_any_name(write) -> None:
    path = write(BASE, "my study.yaml")
    assert load_study(path, ["name=mine"]).name == "mine"
    assert load_study(write(f"{BASE}name: mine\n", "50 % off?.yaml")).name == "mine"


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("my study", "my-study"),
        ("größe", "gr-e"),
        ("-x", "x"),
        ("...", "study"),
        ("a?b#c%20'd\"", "a-b-c-20-d"),
        ("x" * 150, "x" * 100),
    ],
)
def test_a_file_name_that_cannot_name_a_study_says_what_can(write, name: str, suggested: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write(BASE, f"{name}.yaml"))
    message = str(caught.value)
    assert f"{name!r} from the name of the file {name}.yaml" in message
    assert message.endswith(f"give it the key `name`, such as `name: {suggested}`")
    assert load_study(write(f"{BASE}name: {suggested}\n")).name == suggested


KEYS = ["algorithm.name", "algorithm.temperature", "training.num_epochs", "training.learning_rate", "seed"]


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("algorithm.temprature", KEYS, "did you mean `algorithm.temperature`?"),
        ("learning_rate", KEYS, "did you mean `training.learning_rate`?"),
        ("trainig.num_epoch", KEYS, "did you mean `training.num_epochs`?"),
        ("seed.x", KEYS, "did you mean `seed`?"),
        ("val/acc", ["val/accuracy", "val/loss"], "did you mean `val/accuracy`?"),
        ("algorithm.banana", KEYS, "known here: `algorithm.name`, `algorithm.temperature`"),
        ("banana", ["apple", "pear"], "known here: `apple`, `pear`"),
        ("banana", [f"{a}.{b}" for a in "xyz" for b in "abcdefgh"], "known here: `x`, `y`, `z`"),
        (
            "banana",
            [f"n{i:02}" for i in range(80)],
            "known here: `n00`, `n01`, `n02`, `n03`, `n04`, `n05`, `n06`, `n07`, `n08`, `n09` and 70 more",
        ),
        ("banana", [], "known here: nothing"),
    ],
)
def test_only_near_names_are_suggested(name: str, known: list[str], remedy: str) -> None:
    assert nearest(name, known) == remedy
