"""A trained model loads from wherever it is, and predicts as it did when it was evaluated."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.testing import assert_close

import supercm_ray
from supercm_ray.config import DataConfig, PlaceConfig, Study
from supercm_ray.data import Dataset
from supercm_ray.data.images import in_shape
from supercm_ray.errors import StorageError, StudyError
from supercm_ray.inference import Model
from supercm_ray.models import SmallCNN
from supercm_ray.records import StudyFolder

from .conftest import TINY

Pixels = npt.NDArray[np.uint8]


def test_predictions_are_those_of_the_evaluation(model: Model, run: Path, pixels: Pixels) -> None:
    made = model.predict(pixels)
    with np.load(run / "test_predictions.npz") as stored:
        assert np.array_equal(made.indices, stored["predictions"])
        assert_close(made.features, stored["features"])
        away = made.features[:, None] - stored["centroids"]
    assert_close(made.distances, np.linalg.norm(away, axis=2), atol=1e-5, rtol=1e-4)
    assert_close(made.probabilities.sum(axis=1), np.ones(len(pixels), np.float32))
    assert made.predicted == [model.class_names[k] for k in made.indices]
    assert made.nearest == [model.class_names[k] for k in made.distances.argmin(axis=1)]
    assert np.array_equal(made.distance, made.distances[np.arange(len(made)), made.indices])
    assert model.class_names == tuple("0123456789")


def test_every_layout_is_the_same_image(model: Model, pixels: Pixels) -> None:
    wanted = model.predict(pixels[:5]).probabilities
    layouts = [pixels[:5, None], pixels[:5, :, :, None], np.stack([pixels[:5]] * 3, axis=3), torch.tensor(pixels[:5])]
    for images in layouts:
        assert_close(model.predict(images).probabilities, wanted)
    assert np.array_equal(model.embed(pixels[:5], batch_size=2), model.predict(pixels[:5], batch_size=2).features)


@pytest.mark.parametrize("place", ["name", "study folder", "run folder", "saved", "within a model of MLflow"])
def test_a_model_loads_from_each_place(
    place: str, model: Model, run: Path, results: Path, pixels: Pixels, tmp_path: Path
) -> None:
    model.save(tmp_path / "supercm")
    places = {
        "name": "tiny",
        "study folder": run.parents[1],
        "run folder": run,
        "saved": tmp_path / "supercm",
        "within a model of MLflow": tmp_path,
    }
    again = supercm_ray.load_model(places[place], results=results)
    assert np.array_equal(again.predict(pixels).probabilities, model.predict(pixels).probabilities)
    assert again.card.metrics["val/accuracy"] == model.card.metrics["val/accuracy"]


def test_the_description_needs_no_data_set(run: Path, model: Model) -> None:
    assert (model.card.shape, model.card.dtype, model.card.run.split("/")[1:]) == (
        (1, 8, 8),
        "uint8",
        ["train", "tiny"],
    )
    assert {"val/accuracy", "test/accuracy"} <= model.card.metrics.keys()
    assert model.card.versions["torch"] == torch.__version__


def test_what_is_no_input_of_the_model_is_one_line(model: Model, pixels: Pixels, tmp_path: Path) -> None:
    refused = [pixels / 255, pixels[:, :4], np.zeros((3, 64)), np.zeros((0, 8, 8), np.uint8), np.zeros(8, np.uint8)]
    for inputs in refused:
        with pytest.raises(
            StudyError, match=r"(inputs must be uint8 images \(N, 8, 8\),|at least one sample).*; .*"
        ) as e:
            model.predict(inputs)
        assert "\n" not in str(e.value)
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(StudyError, match="input"):
            model.predict(path)


def _renamed(path: Path, **changes: str) -> None:
    text = (path / "model.json").read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    (path / "model.json").write_text(text)


def test_what_is_no_model_is_one_line(model: Model, run: Path, results: Path, tmp_path: Path) -> None:
    study = tmp_path / "other" / "tiny-00000000"
    shutil.copytree(run.parents[1], study)
    other = study / "train" / "tiny"

    def refused(named: str | Path, expected: str, kind: type[Exception] = StudyError) -> None:
        with pytest.raises(kind, match=expected) as error:
            supercm_ray.load_model(named, results=results)
        assert "\n" not in str(error.value)

    refused("nothing", r"the name of one in .*results, got 'nothing'; .*supercm-ray train")
    run = StudyFolder.existing(other.parents[1]).run("/".join(other.parts[-2:]))
    record = run.known_record()
    run.write(replace(record, status="interrupted"))
    refused(other, "a run must have finished, got status interrupted .*; give the command that began it again")
    run.write(record)
    (other / "checkpoint.pt").unlink()
    refused(study, "the last checkpoint of tiny-00000000/train/tiny must be readable", StorageError)
    _renamed(other, small_cnn="smal_cnn")
    refused(other, r"must describe a model of this version, got config.*a known backbone")
    _renamed(other, smal_cnn="small_cnn", **{'"plugins": [': '"plugins": ["nothing"'})
    refused(other, r"got 'nothing': .* give the command in the module's directory.* \(in .*model.json\)$")
    (other / "model.json").unlink()
    refused(other, "a model must be described in .*; train the run again")
    model.save(tmp_path / "saved")
    _renamed(tmp_path / "saved", **{model.class_names[0] + '"': 'zero"', '"weights_sha256": "': '"weights_sha256": "0'})
    refused(tmp_path / "saved", "the weights must be those that .* was written for")


def test_several_runs_of_a_name_are_not_guessed(run: Path, tmp_path: Path) -> None:
    for digest in ("00000000", "11111111"):
        shutil.copytree(run.parents[1], tmp_path / "train" / f"tiny-{digest}")
    with pytest.raises(StudyError, match=r"one run must be meant, got 'tiny' for 2 of them; name one of .*11111111"):
        supercm_ray.load_model("tiny", results=tmp_path)
    assert supercm_ray.load_model("tiny-11111111", results=tmp_path).class_names
    assert re.fullmatch(r"tiny-\w{8}/train/tiny", supercm_ray.load_model(run).card.run)


def test_vectors_are_prepared_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    vectors = 5 * rng.normal(size=(90, 4)) + 9 * np.eye(4)[labels]
    np.savez(tmp_path / "v.npz", images=vectors, labels=labels)
    options = {"file": "v.npz", "l2_normalise": True}
    data = DataConfig(name="arrays", root=str(tmp_path), options=options, labels_per_class=5, shift_pixels=0)
    config = TINY.replace({"model.name": "mlp", "model.options.channels": (8,)})
    study = Study(name="vectors", base=config.model_copy(update={"data": data}), tracking=("none",))
    made = supercm_ray.train(study, results=tmp_path / "results", evaluate_test=True)
    model = supercm_ray.load_model("vectors", results=tmp_path / "results")
    run = Path(made.checkpoint).parent
    with np.load(run / "splits.npz") as splits, np.load(run / "test_predictions.npz") as stored:
        assert np.array_equal(model.predict(vectors[splits["test"]]).indices, stored["predictions"])
        assert_close(model.embed(tmp_path / "v.npz")[splits["test"]], stored["features"], atol=1e-5, rtol=1e-4)
    exported = model.predictor(torch.from_numpy(vectors).float())
    assert_close(exported.numpy(), model.predict(vectors).probabilities)
    vectors[3, 1] = np.nan
    with pytest.raises(StudyError, match="got 1 samples with others, the first is sample 3; mend"):
        model.predict(vectors)
    with pytest.raises(StudyError, match=r"inputs must be vectors \(N, 4\) of numbers, .*got vectors of 3; give such"):
        model.predict(np.zeros((3, 3)))


def test_a_model_for_two_domains_scales_images_as_in_training(tmp_path: Path, digits: Dataset) -> None:
    base = TINY.replace({"training.num_epochs": 1})
    data = DataConfig(name="digits_even", target=PlaceConfig(name="digits_odd_blurred"))
    study = Study(name="two", base=base.model_copy(update={"data": data}), tracking=("none",))
    supercm_ray.train(study, results=tmp_path)
    model = supercm_ray.load_model("two", results=tmp_path)
    large = digits.images[:3].repeat(2, axis=2).repeat(2, axis=3)
    assert_close(model.predict(large).probabilities, model.predict(in_shape(large, (1, 8, 8))).probabilities)


def test_weights_of_the_start_are_not_needed_later(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SmallCNN((1, 8, 8), (4, 8)).state_dict(), tmp_path / "w.pt")
    base = TINY.replace({"model.options.weights": str(tmp_path / "w.pt"), "training.num_epochs": 1})
    supercm_ray.train(Study(name="started", base=base, tracking=("none",)), results=tmp_path)
    (tmp_path / "w.pt").unlink()
    assert supercm_ray.load_model("started", results=tmp_path).class_names
