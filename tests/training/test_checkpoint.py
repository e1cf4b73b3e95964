"""Checkpoints that are whole, harmless and of the right run, or refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparing import differences
from torch.testing import assert_close

from supercm_ray.config import Config
from supercm_ray.data import Dataset
from supercm_ray.errors import CheckpointError
from supercm_ray.models import build_classifier
from supercm_ray.records import CheckpointStore
from supercm_ray.training import TrainState, deserialize, deserialize_model, fit, serialize

REMEDY = "move it away"


class Malicious:
    """Creates a file where it is unpickled without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.fixture
def trained(start) -> TrainState:
    state, data = start({"training.num_epochs": 1})
    list(fit(state, data))
    return state


def saved(folder: Path, state: TrainState) -> Path:
    """Where a state lies once it is written."""
    store = CheckpointStore(folder)
    store.write(serialize(state), "checkpoint.pt")
    store.close()
    return folder / "checkpoint.pt"


@pytest.fixture
def path(tmp_path: Path, trained: TrainState) -> Path:
    """Where the checkpoint of the trained state is."""
    return saved(tmp_path, trained)


def load(path: Path, config: Config, digits: Dataset) -> TrainState:
    return deserialize(path.read_bytes(), str(path), config, digits, torch.device("cpu"))


def refused(path: Path, config: Config, digits: Dataset) -> str:
    """The message with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load(path, config, digits)
    message = str(caught.value)
    assert str(path) in message
    assert REMEDY in message
    assert "\n" not in message
    return message


def test_a_checkpoint_holds_tensors_and_plain_values_only(path: Path, trained: TrainState, digits: Dataset) -> None:
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["centroids"]["value"], trained.centroids.value)
    assert differences(load(path, trained.config, digits), trained) == []
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(path: Path, trained: TrainState, digits: Dataset, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "cannot load" in refused(path, trained.config, digits)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_bytes_are_refused(path: Path, trained: TrainState, digits: Dataset) -> None:
    rng = np.random.default_rng(0)
    uncaught = []
    for i in range(200):
        path.write_bytes(b"\x80\x02" * (i % 2) + rng.bytes(int(rng.integers(1, 300))))  # with a pickle's head or not
        try:
            load(path, trained.config, digits)
            uncaught.append("loaded")
        except CheckpointError as error:
            assert str(path) in str(error)
            assert REMEDY in str(error)
        except Exception as error:  # that is what the test is after
            uncaught.append(repr(error))
    assert uncaught == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_is_refused_if_it_does_not_load(path: Path, trained: TrainState, digits: Dataset) -> None:
    rng, whole = np.random.default_rng(0), path.read_bytes()
    end, refusals, uncaught = whole.index(b"data/0"), 0, []  # up to there stands what is not a tensor's numbers
    for position in rng.integers(0, end, 150):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            load(path, trained.config, digits)
        except CheckpointError:
            refusals += 1
        except Exception as error:  # that is what the test is after
            uncaught.append(repr(error))
    assert uncaught == []
    assert refusals > 10


@pytest.mark.parametrize("writer", ["pickle", "torch", "inside"])
def test_code_in_a_checkpoint_is_not_run(path: Path, trained: TrainState, digits: Dataset, writer: str) -> None:
    target = path.with_name("executed")
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Malicious(target), protocol=2))
    elif writer == "torch":
        torch.save(Malicious(target), path)
    else:
        torch.save({**torch.load(path, weights_only=True), "history": [Malicious(target)]}, path)
    refused(path, trained.config, digits)
    assert not target.exists()
    torch.load(path, weights_only=False) if writer != "pickle" else pickle.loads(path.read_bytes())
    assert target.exists(), "the file is harmful where it is loaded without care"


@pytest.mark.parametrize(
    ("leaf", "value", "there"),
    [
        ("training.learning_rate", 0.5, "training.learning_rate: 0.001 there, 0.5 here"),
        ("algorithm.temperature", 3.0, "algorithm.temperature: 1.0 there, 3.0 here"),
        ("seed", 4, "seed: 0 there, 4 here"),
        ("model.options.channels", [4, 9], "[4, 8] there, [4, 9] here"),
    ],
)
def test_another_configuration_is_refused_and_the_difference_named(
    path: Path, trained: TrainState, digits: Dataset, leaf: str, value: Any, there: str
) -> None:
    assert there in refused(path, trained.config.replace({leaf: value}), digits)


def test_a_leaf_that_was_unknown_then_had_its_default(path: Path, trained: TrainState, digits: Dataset) -> None:
    """So a run goes on with a later version, which knows more leaves."""
    state = torch.load(path, weights_only=True)
    leaves = json.loads(state["config"])
    assert leaves.pop("algorithm.balance_weight") is None and leaves.pop("algorithm.balance_alpha") == 1.0
    torch.save({**state, "config": json.dumps(leaves)}, path)
    assert load(path, trained.config, digits).step == trained.step
    changed = trained.config.replace({"algorithm.balance_alpha": 1.5})
    assert "algorithm.balance_alpha: None there, 1.5 here" in refused(path, changed, digits)
    torch.save({**state, "config": "{}"}, path)
    refused(path, trained.config, digits)


@pytest.mark.parametrize(("leaf", "value"), [("training.num_threads", 2), ("training.checkpoint_interval_epochs", 5)])
def test_what_changes_no_result_may_change(
    path: Path, trained: TrainState, digits: Dataset, leaf: str, value: int
) -> None:
    assert differences(load(path, trained.config.replace({leaf: value}), digits), trained) == []


def _without(saved: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in saved.items() if name != key}


def _with_moments(saved: dict[str, Any], **values: torch.Tensor | None) -> dict[str, Any]:
    """With other moments of the first parameter."""
    state = saved["optimizer"]["state"]
    first = {name: value for name, value in {**state[0], **values}.items() if value is not None}
    return {**saved, "optimizer": {**saved["optimizer"], "state": {**state, 0: first}}}


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: [saved],
        lambda saved: saved["model"]["mean"],
        lambda saved: {**saved, "format": 0},
        lambda saved: _without(saved, "format"),
        lambda saved: _without(saved, "config"),
        lambda saved: {**saved, "config": 3},
        lambda saved: {**saved, "config": "no json"},
        lambda saved: _without(saved, "optimizer"),
        lambda saved: _without(saved, "history"),
        lambda saved: {**saved, "model": {}},
        lambda saved: {**saved, "model": None},
        lambda saved: {**saved, "optimizer": {}},
        lambda saved: {**saved, "generator": torch.zeros(3)},
        lambda saved: {**saved, "generator": {"cpu": torch.zeros(3)}},
        lambda saved: {**saved, "history": [1]},
        lambda saved: {**saved, "history": "a"},
        lambda saved: {**saved, "history": None},
        lambda saved: {**saved, "history": saved["history"] * 2, "step": 2 * saved["step"]},
        lambda saved: {**saved, "history": [{**saved["history"][0], "epoch": 2}]},
        lambda saved: {**saved, "step": saved["step"] + 1},
        lambda saved: {**saved, "step": "x"},
        lambda saved: {**saved, "optimizer": {**saved["optimizer"], "state": {}}},
        lambda saved: _with_moments(saved, exp_avg=torch.zeros(1)),
        lambda saved: _with_moments(saved, exp_avg_sq=torch.zeros(1, dtype=torch.int64)),
        lambda saved: _with_moments(saved, more=torch.zeros(1)),
        lambda saved: _with_moments(saved, step=None),
        lambda saved: {**saved, "centroids": {**saved["centroids"], "value": torch.zeros(1, 1)}},
    ],
    ids=[
        "list",
        "tensor",
        "other format",
        "no format",
        "no config",
        "number for config",
        "text for config",
        "no optimizer",
        "no history",
        "empty model",
        "no model",
        "empty optimizer",
        "foreign generator",
        "generator of another size",
        "numbers for metrics",
        "text for metrics",
        "no metrics",
        "more epochs than there are",
        "epochs out of order",
        "steps that make no epoch",
        "text for steps",
        "no moments",
        "moments of another shape",
        "moments of another type",
        "more than moments",
        "missing moments",
        "foreign centroids",
    ],
)
def test_what_loads_but_is_no_checkpoint_is_refused(path: Path, trained: TrainState, digits: Dataset, change) -> None:
    torch.save(change(torch.load(path, weights_only=True)), path)
    refused(path, trained.config, digits)


def test_the_optimizer_keeps_the_settings_of_the_configuration(
    path: Path, trained: TrainState, digits: Dataset
) -> None:
    saved = torch.load(path, weights_only=True)
    saved["optimizer"]["param_groups"][0].update(lr=5.0, betas=(0.0, 0.0), weight_decay=9.0)
    torch.save(saved, path)
    group = load(path, trained.config, digits).optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.001, (0.9, 0.999), 0.0)


def test_a_run_from_a_gpu_goes_on_and_its_model_is_read_without_one(
    path: Path, trained: TrainState, digits: Dataset
) -> None:
    """A generator's state is of another kind on each kind of device; a GPU's has 16 bytes."""
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "generator": {"cuda": torch.zeros(16, dtype=torch.uint8)}}, path)
    states = [load(path, trained.config, digits) for _ in range(2)]
    assert torch.equal(*(state.generator.get_state() for state in states))
    ema_model = build_classifier(trained.config, digits).eval()
    ema_model.load_state_dict(deserialize_model(path.read_bytes(), str(path))[0])
    images = torch.rand(4, 1, 8, 8)
    assert_close(ema_model(images).logits, trained.ema_model(images).logits)


def test_a_state_that_cannot_be_packed_leaves_the_former_file(path: Path, trained: TrainState, digits: Dataset) -> None:
    before = path.read_bytes()
    trained.history.append({"epoch": lambda: None})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        saved(path.parent, trained)
    assert path.read_bytes() == before
    trained.history.pop()
    trained.history[-1]["more"] = 77.0
    saved(path.parent, trained)
    assert load(path, trained.config, digits).history[-1]["more"] == 77
    assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing half-written stays behind"
