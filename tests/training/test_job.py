"""A job: resumed, opened on the test split, its checkpoints in folders and elsewhere. No Ray is started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supercm_ray.config import Config
from supercm_ray.data import Dataset, split_dataset
from supercm_ray.errors import CheckpointError, StorageError
from supercm_ray.records import BEST, LAST, CheckpointStore, EpochMetrics, Message, Predictions
from supercm_ray.training import Job, train_job


@pytest.fixture
def job(tiny: Callable[..., Config], digits: Dataset, tmp_path: Path) -> Callable[..., Job]:
    """Makes a job of the tiny configuration with leaves replaced."""

    def make(assignments: dict[str, Any] | None = None, storage: str = "") -> Job:
        config = tiny(assignments)
        return Job(config, digits, split_dataset(digits, config), storage or str(tmp_path / "run"))

    return make


def timeless(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without what the clock and the machine said."""
    return {name: one for name, one in metrics.items() if name != "epoch_seconds" and not name.startswith("system/")}


def untimed(messages: list[Message]) -> list[tuple[int, dict[str, float]]]:
    epochs = [one for one in messages if isinstance(one, EpochMetrics)]
    assert len(epochs) == len(messages)
    return [(one.epoch, timeless(one.metrics)) for one in epochs]


@pytest.mark.parametrize("mode", ["labeled", "pseudo_labeled", "learned"])
def test_the_last_message_holds_what_was_found_on_the_test_split(job: Callable[..., Job], mode: str) -> None:
    one = replace(job({"algorithm.centroid_mode": mode}), evaluate_test=True)
    *before, last = train_job(one)
    assert [message.epoch for message in before if isinstance(message, EpochMetrics)] == [1, 2, 3]
    assert not any(name.startswith("test/") for message in before for name in message.metrics)
    assert isinstance(last, Predictions)
    arrays = last.arrays
    assert arrays["confusion"].trace() / arrays["confusion"].sum() == pytest.approx(last.metrics["test/accuracy"])
    assert (arrays["labels"] == arrays["predictions"]).mean() == pytest.approx(last.metrics["test/accuracy"])
    names = ("accuracy", "loss", "balanced_accuracy", "f1_macro", "ece")
    assert last.metrics.keys() == {f"test/{name}" for name in names}
    val = arrays["val_confusion"]
    assert isinstance(before[-1], EpochMetrics)
    assert val.trace() / val.sum() == pytest.approx(before[-1].metrics["val/accuracy"])
    assert np.array_equal(arrays["labels"], one.dataset.labels[one.splits.test])
    assert arrays["centroids"].shape == (10, 8)
    assert arrays["seen"].all()
    orders = [message.order for message in (*before, last)]
    assert orders == sorted(set(orders)), "a run that begins again tells nothing twice"


def test_a_job_cut_off_gives_its_past_again_and_goes_on_as_if_it_were_not(job: Callable[..., Job]) -> None:
    whole = list(train_job(job()))
    CheckpointStore(job().storage).clear()
    messages = train_job(job())
    before = list(islice(messages, 2))
    messages.close()
    resumed = list(train_job(job()))
    assert resumed[:2] == before
    assert untimed(resumed) == untimed(whole)


def test_checkpoints_come_at_every_so_many_epochs_and_at_the_end(job: Callable[..., Job]) -> None:
    one = job({"training.checkpoint_interval_epochs": 2, "training.num_epochs": 5})
    store, there = CheckpointStore(one.storage), []
    for _ in train_job(one):
        time.sleep(0.2)  # writing goes on beside training
        there.append(store.read())
    changed = [after != before for before, after in zip([None, *there], there, strict=False)]
    assert changed == [False, True, False, True, True]


def test_checkpoints_come_after_so_many_seconds_too(job: Callable[..., Job]) -> None:
    seconds = {"training.checkpoint_interval_epochs": 100, "training.checkpoint_interval_s": 0.001}
    one = job({**seconds, "training.num_epochs": 3})
    messages = train_job(one)
    next(messages)
    messages.close()
    assert CheckpointStore(one.storage).read() is not None


def test_the_best_is_kept_beside_the_last(job: Callable[..., Job]) -> None:
    """With a falling loss of the training as the measure to maximise, the first epoch is the best."""
    one = replace(job(), best_by=("train/supervised", "maximize"))
    losses = [message.metrics["train/supervised"] for message in train_job(one)]
    assert losses[0] == max(losses)
    store = CheckpointStore(one.storage)
    assert store.read(BEST) != store.read(LAST)
    resumed = list(train_job(replace(one, storage=_only_the_best(one))))
    assert resumed[0].metrics["train/supervised"] == losses[0]


def _only_the_best(job: Job) -> str:
    content = CheckpointStore(job.storage).read(BEST)
    assert content is not None
    other = CheckpointStore(f"{job.storage}-best")
    other.write(content, LAST)
    other.close()
    return other.place


@pytest.mark.parametrize("damage", [lambda content: content[:1000], lambda content: b"", lambda content: b"x" * 9999])
def test_a_damaged_checkpoint_is_refused_and_can_be_put_aside(
    job: Callable[..., Job], damage: Callable[[bytes], bytes]
) -> None:
    list(train_job(job()))
    path = Path(job().storage) / LAST
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(CheckpointError, match=str(path)):
        next(train_job(job()))
    CheckpointStore(job().storage).quarantine()
    assert path.with_suffix(".refused").read_bytes() == broken
    assert next(train_job(job())).epoch == 1


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(job: Callable[..., Job], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    place = str(tmp_path / "file" / "run")
    with pytest.raises(StorageError, match=r"a checkpoint must be (read|written) .* got .*Not a directory"):
        list(train_job(job(storage=place)))
    with pytest.raises(StorageError, match=r"file/run must be written, got: Not a directory"):
        CheckpointStore(place).check_writable()


def test_a_place_that_was_tried_out_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"as it was")
    CheckpointStore(tmp_path).check_writable()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(LAST, b"as it was")]


@pytest.mark.parametrize("scheme", ["file://", "memory://"])
def test_checkpoints_may_lie_where_a_uri_says(job: Callable[..., Job], tmp_path: Path, scheme: str) -> None:
    """What pyarrow knows itself, and what it knows through fsspec."""
    one = job(storage=f"{scheme}{tmp_path}/remote")
    messages = train_job(one)
    before = list(islice(messages, 2))
    messages.close()
    assert list(train_job(one))[:2] == before
    CheckpointStore(one.storage).clear()
    assert CheckpointStore(one.storage).read() is None


def test_a_uri_that_nobody_knows_is_one_clear_error(job: Callable[..., Job]) -> None:
    with pytest.raises(CheckpointError, match=r"training\.storage_path must be .* 'nosuch://place/run'"):
        list(train_job(job(storage="nosuch://place/run")))
