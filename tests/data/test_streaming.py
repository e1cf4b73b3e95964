"""Images decoded as they are needed give what images in memory give."""

from __future__ import annotations

import logging
import pickle
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_ray.config import Config, DataConfig, ModelConfig, PlaceConfig, TrainingConfig
from supercm_ray.data import Dataset, DeviceData, load_dataset, split_dataset
from supercm_ray.data.image_folder import ImageFolderOptions
from supercm_ray.data.images import StreamedImages
from supercm_ray.data.streaming import Stream
from supercm_ray.errors import StudyError
from supercm_ray.training import TrainState, evaluate, fit

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains of three classes, images of several sizes, grey ones among those of the first."""
    rng = np.random.default_rng(0)
    for domain, count in (("photos", 12), ("sketches", 8)):
        for name in ("cat", "dog", "owl"):
            (tmp_path / domain / name).mkdir(parents=True)
            for i in range(count):
                shape = (10 + i, 14) if domain == "photos" and i % 3 == 0 else (12, 9 + i, 3)
                pixels = rng.integers(0, 256, shape).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / domain / name / f"{i:02}.png")
    return tmp_path


OPTIONS = ImageFolderOptions.model_fields


def config(root: Path, stream: str, **data: object) -> Config:
    """A configuration on the photos; its images are streamed or not."""
    options = {"image_size": 8, "stream": stream, **{name: data.pop(name) for name in list(data) if name in OPTIONS}}
    place = {"name": "image_folder", "root": str(root / "photos"), "options": options}
    return Config(
        data=DataConfig(**{**place, "labels_per_class": 2, **data}),
        model=ModelConfig(options={"channels": (4, 8)}),
        training=TrainingConfig(
            num_epochs=2, steps_per_epoch=3, labeled_batch_size=4, unlabeled_batch_size=6, device="cpu"
        ),
    )


def domains(root: Path, of_source: str, of_target: str) -> Config:
    target = PlaceConfig(
        name="image_folder", root=str(root / "sketches"), options={"image_size": 6, "stream": of_target}
    )
    return config(root, of_source, target=target, labels_per_class=None)


def trained(config: Config, dataset: Dataset) -> tuple[list[dict[str, float]], torch.Tensor, float]:
    data = DeviceData.of(dataset, split_dataset(dataset, config), CPU)
    state = TrainState.create(config, dataset, CPU)
    history = [{k: v for k, v in metrics.items() if k != "epoch_seconds"} for metrics in fit(state, data)]
    weights = torch.cat([parameter.flatten() for parameter in state.model.parameters()])
    return history, weights, evaluate(state.ema_model, data, data.test).loss


@pytest.mark.parametrize("make", [config, lambda root, stream: domains(root, stream, stream)], ids=["one", "two"])
def test_pixels_and_training_are_bit_identical(make, root: Path) -> None:
    ends, pixels = [], []
    for stream in ("off", "on"):
        chosen = make(root, stream)
        dataset = load_dataset(chosen.data)
        assert isinstance(dataset.images, StreamedImages) == (stream == "on")
        pixels.append(dataset.images[np.arange(len(dataset.labels))[::-1]])
        ends.append(trained(chosen, dataset))
    assert np.array_equal(*pixels)
    assert ends[0][0] == ends[1][0]
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]


@pytest.mark.parametrize(("of_source", "of_target"), [("on", "off"), ("off", "on")])
def test_one_domain_may_be_streamed_alone(of_source: str, of_target: str, root: Path) -> None:
    expected = load_dataset(domains(root, "off", "off").data)
    dataset = load_dataset(domains(root, of_source, of_target).data)
    assert isinstance(dataset.images, StreamedImages)
    assert dataset.shape == expected.shape
    indices = np.random.default_rng(0).permutation(len(dataset.labels))
    assert np.array_equal(dataset.images[indices], expected.images[indices])


def test_auto_streams_what_is_too_large(root: Path) -> None:
    in_memory = load_dataset(config(root, "auto").data)
    assert isinstance(in_memory.images, np.ndarray)
    decoded_gib = in_memory.images.nbytes / 2**30
    for limit, streamed in ((0.99 * decoded_gib, True), (1.01 * decoded_gib, False)):
        dataset = load_dataset(config(root, "auto", memory_gib=limit).data)
        assert isinstance(dataset.images, StreamedImages) == streamed


def test_sealed_samples_are_blank_and_survive_the_way_to_a_worker(root: Path) -> None:
    dataset = load_dataset(config(root, "on").data)
    sealed = pickle.loads(pickle.dumps(dataset.mask_test_split(np.array([1, 5]))))
    images = sealed.images[np.array([5, 4, 1])]
    assert not images[0].any()
    assert not images[2].any()
    assert np.array_equal(images[1], dataset.images[np.array([4])][0])
    assert sealed.labels[[1, 5]].tolist() == [-1, -1]
    assert len(pickle.dumps(dataset)) < 50_000


def test_corrupt_images_are_refused_or_counted_before_training(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "photos" / "dog" / "05.png").write_bytes((root / "photos" / "dog" / "05.png").read_bytes()[:60])
    messages = []
    for stream in ("off", "on"):
        with pytest.raises(StudyError, match=r"05\.png.*data\.options\.skip_corrupt=true") as caught:
            load_dataset(config(root, stream).data)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    with caplog.at_level(logging.WARNING):
        skipping = [load_dataset(config(root, stream, skip_corrupt=True).data) for stream in ("off", "on")]
    assert caplog.text.count("left out 1 images") == 2
    assert len(skipping[1].labels) == 35
    assert np.array_equal(skipping[0].labels, skipping[1].labels)
    assert np.array_equal(skipping[0].images[np.arange(35)], skipping[1].images[np.arange(35)])


def bomb() -> bytes:
    """A PNG whose header speaks of 60000 by 60000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


def test_a_header_of_too_many_pixels_is_refused_or_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "photos" / "dog" / "05.png").write_bytes(bomb())
    for stream in ("off", "on"):
        with pytest.raises(StudyError, match=r"05\.png.*data\.options\.skip_corrupt=true"):
            load_dataset(config(root, stream).data)
        assert len(load_dataset(config(root, stream, skip_corrupt=True).data).labels) == 35
    assert caplog.text.count("left out 1 images") == 2
    dataset = load_dataset(config(root, "on", skip_corrupt=True).data)
    (root / "photos" / "cat" / "00.png").write_bytes(bomb())
    with pytest.raises(StudyError, match=r"stay readable.*00\.png"):
        dataset.images[np.array([0])]


def test_a_target_leaves_out_corrupt_images_where_the_source_does(root: Path) -> None:
    (root / "sketches" / "dog" / "05.png").write_bytes(b"no image")
    chosen = domains(root, "off", "off")
    with pytest.raises(StudyError, match=r"05\.png.*data\.options\.skip_corrupt=true"):
        load_dataset(chosen.data)
    assert len(load_dataset(chosen.replace({"data.options.skip_corrupt": True}).data).target_indices) == 23


def test_a_file_that_goes_away_meanwhile_is_named(root: Path) -> None:
    dataset = load_dataset(config(root, "on").data)
    (root / "photos" / "cat" / "00.png").unlink()
    with pytest.raises(StudyError, match=r"stay readable.*00\.png"):
        dataset.images[np.array([0])]


class Counting(StreamedImages):
    """Remembers which samples were read, and by which thread."""

    shape = (100, 1, 2, 2)
    num_threads = 2

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        self.threads: set[str] = set()

    def read(self, indices: np.ndarray, into: np.ndarray) -> None:
        self.reads.append(indices.tolist())
        self.threads.add(threading.current_thread().name)
        into[:] = indices[:, None, None, None]


def test_announced_batches_are_read_once_ahead_of_time_and_not_all_at_once() -> None:
    images = Counting()
    stream = Stream(images, CPU)
    batches = torch.arange(20).view(10, 2)
    stream.expect(batches)
    stream._pool.submit(lambda: None).result()
    assert 1 <= len(images.reads) <= 3
    for batch in batches:
        assert torch.equal(stream[batch][:, 0, 0, 0].long(), batch)
    assert sorted(images.reads) == batches.tolist()
    assert all(name.startswith("decode") for name in images.threads)


def test_what_was_not_announced_is_read_on_the_spot_and_a_new_announcement_replaces_the_old() -> None:
    stream = Stream(Counting(), CPU)
    stream.expect(torch.arange(20).view(10, 2))
    assert stream[torch.tensor([50])].flatten().tolist() == [50] * 4
    stream.expect([torch.tensor([7, 8]), torch.tensor([9])])
    assert stream[torch.tensor([7, 8])][:, 0, 0, 0].tolist() == [7, 8]
    assert stream[torch.tensor([9])][:, 0, 0, 0].tolist() == [9]
    assert not stream._begun
