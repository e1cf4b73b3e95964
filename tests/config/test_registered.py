"""Options that belong to what a study file names: where they stand, what is refused, and what follows a name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import jsonschema
import pytest
from pydantic import Field

from supercm_ray.config import Config, DataConfig, ModelConfig, OptionsModel, Study, load_study
from supercm_ray.errors import StudyError
from supercm_ray.models import BACKBONES, WeightsOptions

BASE = "base: {data: {label_ratio: 0.1}}\n"


REFUSED = {
    "unknown data set": ("data.name=digit", "a known data set must hold for base.data.name", "did you mean `digits`?"),
    "unknown backbone": ("model.name=resnet5O", "a known backbone must hold for base.model.name", "`resnet50`?"),
    "unknown sampler": ("sampler.name=tpee", "a known sampler must hold for sampler.name", "did you mean `tpe`?"),
    "unknown option": ("model.options.chanels=[4]", "base.model.options.chanels", "did you mean `channels`?"),
    "option of another": ("model.options.stream=on", "base.model.options.stream", "known here: `channels`"),
    "no option at all": ("data.options.stream=on", "base.data.options.stream", "known here: nothing"),
    "missing option": ("data.name=arrays", "base.data.options.file", "nothing; add it: Path of the file"),
    "range": ("sampler.options.num_startup_trials=0", "sampler.options.num_startup_trials", "greater than or equal"),
    "item": ("model.options.channels=[4, x]", "base.model.options.channels[1]", "a value that is a valid integer"),
    "own rule": ("model.options.channels=[4, 0]", "base.model.options.channels", "got channels=[4, 0]"),
    "in the target": ("data.target={name: digit}", "base.data.target.name", "did you mean `digits`?"),
    "option of the target": (
        "data.target={name: image_folder, options: {streem: on}}",
        "base.data.target.options.streem",
        "did you mean `stream`?",
    ),
    "no mapping": ("data.target={name: digits_even, options: 3}", "base.data.target.options", "got 3"),
}


@pytest.mark.parametrize(("override", "place", "remedy"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_name_or_option_is_one_clear_line(write, override: str, place: str, remedy: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write(BASE), [override])
    message = str(caught.value)
    assert "\n" not in message
    assert "should" not in message
    assert f"{place} in broken.yaml" in message or place in message.partition(" in ")[0]
    assert remedy in message


def test_a_searched_name_is_known(write) -> None:
    space = "space: {model.name: {type: categorical, choices: [small_cnn, smal_cnn]}}\n"
    with pytest.raises(StudyError, match=r"a known backbone must hold for space\.model\.name\.choices\[1\].*small_cnn"):
        load_study(write(BASE + space))


def test_options_are_leaves_with_their_defaults() -> None:
    config = Config(data=DataConfig(name="image_folder", label_ratio=0.1, options={"image_size": 8}))
    leaves = config.leaves()
    assert (leaves["data.options.image_size"], leaves["data.options.stream"]) == (8, "auto")
    assert leaves["model.options.channels"] == (32, 64, 64)
    assert not [path for path in Config(data=DataConfig(label_ratio=0.1)).leaves() if path.startswith("data.options")]


def test_a_new_name_comes_with_options_of_its_own() -> None:
    config = Config(data=DataConfig(label_ratio=0.1), model=ModelConfig(options={"channels": [4, 8]}))
    assert config.replace({"model.bottleneck": 3}).model.options.channels == (4, 8)
    assert config.replace({"model.name": "small_cnn"}).model.options.channels == (4, 8)
    assert config.replace({"model.name": "mlp"}).model.options.channels == (32, 64, 64)
    assert config.replace({"model.options.channels": [5], "model.name": "mlp"}).model.options.channels == (5,)
    assert config.replace({"model.name": "wrn_28_2"}).model.options == WeightsOptions()


def test_overrides_give_a_name_and_its_options_in_any_order(write) -> None:
    words = ["data.options.file=a.npz", "data.name=arrays", "data.options.first_label=1"]
    options = load_study(write(BASE), words).base.data.options
    assert (options.file, options.first_label, options.input_key) == ("a.npz", 1, None)


def test_how_images_are_read_may_change_between_a_run_and_its_resumption(write) -> None:
    photos = "{name: image_folder, root: %s, options: {image_size: 8, stream: %s}%s}"
    text = f"base: {{data: {photos % ('a', 'on', ', target: ' + photos % ('b', 'on', ''))}}}\n"
    identity = load_study(write(text)).identity()
    for place in ("data", "data.target"):
        for same in ("stream=off", "memory_gib=1", "stream_threads=2"):
            assert load_study(write(text), [f"{place}.options.{same}"]).identity() == identity
        for other in ("image_size=9", "skip_corrupt=true"):
            assert load_study(write(text), [f"{place}.options.{other}"]).identity() != identity


@pytest.fixture
def plug_in() -> Iterator[None]:
    class Options(OptionsModel):
        side: int = Field(4, ge=1)
        """Pixels."""

    BACKBONES.register("plugged", options=Options)(lambda shape, options: None)
    yield
    BACKBONES.remove("plugged")


@pytest.mark.parametrize(
    ("model", "is_valid"),
    [
        ({}, True),
        ({"options": {"channels": [4]}}, True),
        ({"options": {"side": 4}}, False),
        ({"name": "mlp", "options": {"channels": [4]}}, True),
        ({"name": "mlp", "options": {"channels": []}}, False),
        ({"name": "wrn_28_2", "options": {"channels": [4]}}, False),
        ({"name": "plugged", "options": {"side": 4}}, True),
        ({"name": "plugged", "options": {"side": 0}}, False),
    ],
)
def test_the_schema_knows_the_options_of_each_name(plug_in: None, model: dict[str, object], is_valid: bool) -> None:
    schema = Study.model_json_schema()
    study = {"name": "a", "base": {"data": {"label_ratio": 0.1}, "model": model}}
    try:
        jsonschema.validate(study, schema)
        found = True
    except jsonschema.ValidationError:
        found = False
    assert found == is_valid


def test_torchvision_is_imported_only_for_names_that_are_not_registered() -> None:
    code = (
        "import sys; from supercm_ray.config import *\n"
        "Config(data=DataConfig(name='cifar10', label_ratio=0.1), model=ModelConfig(name='wrn_28_2'))\n"
        "assert 'torchvision' not in sys.modules; ModelConfig(name='resnet18'); assert 'torchvision' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
