"""The command `embed`: features of a data set under a frozen backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import supercm_ray

import supercm_ray as package
from supercm_ray.config import DataConfig, ModelConfig
from supercm_ray.data import Dataset, load_dataset
from supercm_ray.inference import embedding
from supercm_ray.models import SmallCNN, build_backbone

STUDY = """\
base:
  data: {name: digits_even, label_ratio: 0.1}
  model: {options: {channels: [4, 8]}}
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file with weights of the study's backbone; the study file is beside it."""
    torch.manual_seed(3)
    torch.save({"state_dict": SmallCNN((1, 8, 8), (4, 8)).state_dict()}, tmp_path / "w.pt")
    (tmp_path / "a.yaml").write_text(STUDY)
    return tmp_path / "w.pt"


def embed(folder: Path, *words: str):
    return supercm_ray(folder, "embed", "a.yaml", "--model", "small_cnn", "--output", "f.npz", *words)


def computed(weights: Path, dataset: Dataset) -> torch.Tensor:
    options = {"channels": (4, 8), "weights": str(weights)}
    backbone = build_backbone((1, 8, 8), ModelConfig(options=options)).eval()
    with torch.no_grad():
        return backbone((torch.from_numpy(dataset.images) / 255 - 0.5) / 0.5)


def test_features_are_data_of_a_study(weights: Path, tmp_path: Path) -> None:
    done = embed(tmp_path, "--weights", "w.pt")
    assert (done.returncode, done.stderr) == (0, "")
    source = load_dataset(DataConfig(name="digits_even", label_ratio=0.1))
    options = {"file": "f.npz", "input_key": "features", "label_key": "labels"}
    arrays = load_dataset(DataConfig(name="arrays", root=str(tmp_path), options=options, label_ratio=0.1))
    assert np.array_equal(arrays.labels, source.labels)
    assert np.allclose(arrays.images[:, :, 0, 0], computed(weights, source), atol=1e-5)
    with np.load(tmp_path / "f.npz") as saved:
        assert saved["class_names"].tolist() == list(source.class_names)
        assert len(saved["names"]) == len(source.labels)
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "f.npz", "w.pt"}


def test_a_kill_in_the_middle_changes_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert embed(tmp_path, "--weights", "w.pt").returncode == 0
    undisturbed = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").unlink()
    monkeypatch.setattr(embedding, "SECONDS_PER_SHARD", 0.0)
    taken = embedding.taken_batches
    num_samples = len(load_dataset(DataConfig(name="digits_even", label_ratio=0.1)).labels)
    state = {"calls": 0, "samples": 0}

    def counted(*args: object):
        state["calls"] += 1
        for number, batch in enumerate(taken(*args)):
            if number == 5 and state["calls"] == 1:
                raise KeyboardInterrupt
            state["samples"] += len(batch)
            yield batch

    monkeypatch.setattr(embedding, "taken_batches", counted)
    assert embed(tmp_path, "--weights", "w.pt").returncode == 130
    assert not (tmp_path / "f.npz").exists()
    assert embed(tmp_path, "--weights", "w.pt").returncode == 0
    assert (tmp_path / "f.npz").read_bytes() == undisturbed
    assert state == {"calls": 2, "samples": num_samples}, "no sample is computed twice"
    assert "goes on after 320 of" in caplog.text


def test_parts_of_another_model_are_not_used(weights: Path, tmp_path: Path) -> None:
    shards = embedding.Shards(tmp_path / ".f.npz.parts", "another")
    shards.append(np.ones((64, 8), np.float32))
    assert embed(tmp_path, "--weights", "w.pt").returncode == 0
    with np.load(tmp_path / "f.npz") as saved:
        assert np.allclose(
            saved["features"][:64], computed(weights, load_dataset(DataConfig(label_ratio=0.1)))[:1], atol=9
        )
        assert not (saved["features"][:64] == 1).all()


def test_target_and_own_splits_get_files_of_their_own(tmp_path: Path, digits: Dataset) -> None:
    half = len(digits.labels) // 2
    for name, part in (("train", slice(half)), ("test", slice(half, None))):
        np.savez(tmp_path / f"{name}.npz", images=digits.images[part, 0], labels=digits.labels[part])
    (tmp_path / "a.yaml").write_text(
        f"base: {{data: {{name: arrays, root: {tmp_path}, options: {{file: train.npz, test_file: test.npz}}, "
        "label_ratio: 0.5, target: {name: digits_odd_blurred}}}"
    )
    made = package.embed(tmp_path / "a.yaml", model="small_cnn", weights="none", output=tmp_path / "f.npz")
    assert [(one.path.name, one.num_samples) for one in made] == [("f.npz", len(digits.labels)), ("f_target.npz", 898)]
    with np.load(tmp_path / "f_splits.npz") as splits:
        assert splits["test"].tolist() == list(range(half, len(digits.labels)))


def test_images_are_scaled_for_the_backbone(images: Path) -> None:
    (images / "a").mkdir()
    (images / "b").mkdir()
    for path in list(images.glob("*.png")):
        path.rename(images / ("a" if path.stem < "3" else "b") / path.name)
    made = package.embed(
        images, model="timm/test_resnet", weights="none", image_size=32, output=images / "f.npz", batch_size=2
    )
    assert made[0].num_samples == 7
    with np.load(images / "f.npz") as saved:
        assert saved["labels"].tolist() == [*"aaabbbb"]
        assert saved["features"].shape == (7, made[0].num_features)


def test_features_that_are_no_numbers_are_refused(weights: Path, tmp_path: Path) -> None:
    state = SmallCNN((1, 8, 8), (4, 8)).state_dict()
    state["layers.0.weight"][0] = torch.nan
    torch.save(state, weights)
    done = embed(tmp_path, "--weights", "w.pt")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "features must be finite numbers, got others for sample 0; check the weights" in done.stderr
    assert not (tmp_path / "f.npz").exists()


def test_what_cannot_be_embedded_is_one_line(weights: Path, tmp_path: Path) -> None:
    for words, expected in (
        ((), "`--weights` must be a file for small_cnn, got 'default', but none are published; name a file"),
        (("--weights", "no.pt"), "`--weights` must be a file with the weights of small_cnn, got 'no.pt'"),
        (("--model", "resnet5O"), "got 'resnet5O'; did you mean `resnet50`"),
        (("--weights", "none", "--output", "a.csv"), "--output must be a .npz file, got 'a.csv'"),
        (("--weights", "none", "--model", "alexnet"), "--model must take inputs of the shape of the data"),
    ):
        done = embed(tmp_path, *words)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert expected in done.stderr
    done = supercm_ray(tmp_path, "embed", "none", "--model", "small_cnn", "--output", "f.npz")
    assert "must be a study file, a folder of images or a file of arrays, got 'none'" in done.stderr
