"""Options of algorithms: leaves of the configuration that the algorithm's name decides."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from supercm_ray.algorithms import ALGORITHMS
from supercm_ray.config import Config, Study, load_study
from supercm_ray.errors import StudyError

VAT = "base: {data: {labels_per_class: 1}, algorithm: {name: vat, options: {epsilon: 3}}}\n"
NAMES = "  algorithm.name: {type: categorical, choices: [pseudo_label, fixmatch]}\n"
THRESHOLD = "  algorithm.options.threshold: {type: float, low: 0.5, high: 0.9}\n"

Write = Callable[..., Path]


@pytest.fixture
def vat(write: Write) -> Config:
    return load_study(write(VAT)).base


def test_options_are_leaves_with_their_defaults(vat: Config) -> None:
    options = {path: value for path, value in vat.leaves().items() if path.startswith("algorithm.options.")}
    assert options == {"algorithm.options.epsilon": 3.0, "algorithm.options.xi": 0.1}


def test_a_new_name_brings_its_own_defaults(vat: Config) -> None:
    other = vat.replace({"algorithm.options.threshold": 0.7, "algorithm.name": "fixmatch"})
    assert other.algorithm.options.model_dump() == {"threshold": 0.7}
    assert vat.replace({"algorithm.name": "fixmatch"}).leaves()["algorithm.options.threshold"] == 0.95
    assert vat.replace({"algorithm.name": "vat"}) == vat


def test_a_configuration_with_options_survives_json_and_pickle(vat: Config) -> None:
    assert Config.model_validate_json(vat.model_dump_json()) == vat
    assert pickle.loads(pickle.dumps(vat)) == vat


@pytest.mark.parametrize(
    "words", [["algorithm.options.xi=2"], ["algorithm.options.threshold=0.5", "algorithm.name=fixmatch"]]
)
def test_options_are_set_on_the_command_line_in_any_order(write: Write, words: list[str]) -> None:
    for overrides in (words, words[::-1]):
        options = load_study(write(VAT), overrides).base.algorithm.options.model_dump()
        assert options in ({"epsilon": 3.0, "xi": 2.0}, {"threshold": 0.5})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "algorithm.options.epsilo=1",
            r"a known option must hold for base\.algorithm\.options\.epsilo .* did you mean `epsilon`\?",
        ),
        ("algorithm.options.epsilon=0", r"greater than 0 must hold for base\.algorithm\.options\.epsilon .*, got 0"),
        (
            "algorithm.name=fixmach",
            r"a known algorithm must hold for base\.algorithm\.name .*'fixmach'; did you mean `fixmatch`\?",
        ),
    ],
)
def test_what_is_wrong_with_an_option_is_one_clear_line(write: Write, override: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load_study(write(VAT), [override])
    assert "\n" not in str(caught.value)


def test_an_option_is_searched_tried_and_compared(write: Write) -> None:
    space = "space:\n  algorithm.options.epsilon: {type: float, low: 1, high: 9}\n"
    known = "enqueued_trials: [{algorithm.options.epsilon: 2}]\nbaseline: {algorithm.options.xi: 1.0}\n"
    study = load_study(write(VAT + space + known))
    config = study.base.replace({**study.enqueued_trials[0], **study.baseline})
    assert config.algorithm.options.model_dump() == {"epsilon": 2.0, "xi": 1.0}
    with pytest.raises(StudyError, match=r"greater than 0 must hold for space\.algorithm\.options\.epsilon\.low"):
        load_study(write(VAT + space.replace("low: 1", "low: -1")))


def test_an_option_that_all_searched_names_have_is_searched(write: Write) -> None:
    study = load_study(write(VAT + "space:\n" + THRESHOLD + NAMES))
    found = study.base.replace({"algorithm.options.threshold": 0.6, "algorithm.name": "pseudo_label"})
    assert found.leaves()["algorithm.options.threshold"] == 0.6


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("space:\n" + NAMES.replace("fixmatch", "vat") + THRESHOLD, r"space\.algorithm", "vat"),
        (
            "space:\n" + THRESHOLD + NAMES + "baseline: {algorithm.name: supervised}\n",
            r"space\.algorithm",
            "supervised",
        ),
        (
            "space:\n" + NAMES.replace("fixmatch", "vat") + "baseline: {algorithm.options.threshold: 0.6}\n",
            r"baseline\.algorithm",
            "vat",
        ),
    ],
)
def test_an_option_that_a_name_lacks_is_refused(write: Write, text: str, place: str, name: str) -> None:
    rule = "an option of every name that is searched or compared must hold for "
    message = (
        rf"{rule}{place}\.options\.threshold .*, got none with algorithm\.name={name}; leave it out, or leave '{name}'"
    )
    with pytest.raises(StudyError, match=message):
        load_study(write(VAT + text))


def test_an_option_that_no_name_has_is_refused(write: Write) -> None:
    text = "space:\n  algorithm.options.epsilo: {type: float, low: 1, high: 9}\n"
    with pytest.raises(StudyError, match=r"`algorithm\.options\.epsilon`\?"):
        load_study(write(VAT + text))


def test_the_json_schema_admits_the_options_of_the_algorithm_alone() -> None:
    schema, tree = Study.model_json_schema(), {"name": "a", **yaml.safe_load(VAT)}
    jsonschema.validate(tree, schema)
    names = {one["if"]["properties"]["name"]["const"] for one in schema["$defs"]["AlgorithmConfig"]["allOf"]}
    assert names == set(ALGORITHMS.names())
    for algorithm in ({"name": "vat", "options": {"threshold": 1}}, {"options": {"epsilon": 1}}):
        tree["base"]["algorithm"] = algorithm
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tree, schema)


def test_plugins_are_imported_before_what_they_register_is_looked_up(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_first.py").write_text(
        "from supercm_ray.algorithms import ALGORITHMS\n"
        "from supercm_ray.algorithms.pseudo_labels import ThresholdOptions\n"
        "ALGORITHMS.add('of_a_plugin', lambda step: {}, options=ThresholdOptions)\n"
    )
    words = ["algorithm.name=of_a_plugin", "algorithm.options.threshold=0.5"]
    try:
        base = load_study(write(VAT), ["plugins=[imported_first]", *words]).base
        assert base.leaves()["algorithm.options.threshold"] == 0.5
    finally:
        ALGORITHMS.remove("of_a_plugin")


def test_a_plugin_that_cannot_be_imported_is_one_clear_line(write: Write) -> None:
    with pytest.raises(StudyError, match=r"`plugins` must name modules .* got 'no_such_module': .*broken\.yaml"):
        load_study(write(VAT), ["plugins=[no_such_module]"])


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_a_need_is_checked_whoever_has_it(vat: Config, name: str) -> None:
    needs = ALGORITHMS.find(name).requires
    found = {"algorithm.name": name, "data.target": {"name": "digits_odd_blurred"}}
    if "fixed_features" in needs:
        with pytest.raises(ValidationError, match="features that training does not change"):
            vat.replace(found)
        found |= {"model.name": "identity", "training.num_epochs": 1, "algorithm.clustering_weight": 0.0}
    assert vat.replace(found).algorithm.requires == needs
    if needs - {"fixed_features"}:
        with pytest.raises(ValidationError, match="unlabeled_batch_size >= 1"):
            vat.replace({**found, "training.unlabeled_batch_size": 0})
    if "target" in needs:
        with pytest.raises(ValidationError, match="needs a target"):
            vat.replace({"algorithm.name": name})


def test_a_dump_names_options_by_their_own_model(vat: Config) -> None:
    assert json.loads(vat.model_dump_json())["algorithm"]["options"] == {"epsilon": 3.0, "xi": 0.1}
