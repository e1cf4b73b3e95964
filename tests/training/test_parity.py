"""Workers compute what one process would: N with their parts of a batch, against one with the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity import CASES, CLOSED_FORM, MUTATIONS, NUM_STEPS, WHOLE_EPOCHS
from torch import Tensor

SCRIPT = Path(__file__).with_name("parity.py")
Found = dict[str, dict[str, Tensor]]


def start(folder: Path, workers: int) -> list[Found]:
    """What each of so many workers found."""
    folder.mkdir()
    outs = [folder / f"{rank}.pt" for rank in range(workers)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), str(workers), folder / "store", out], env=environment)
        for rank, out in enumerate(outs)
    ]
    try:
        assert [process.wait(240) for process in processes] == [0] * workers
    finally:
        for process in processes:
            process.kill()
    return [torch.load(out, weights_only=True) for out in outs]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Found]]:
    """Runs all cases on so many workers, once."""
    kept: dict[int, list[Found]] = {}
    folder = tmp_path_factory.mktemp("parity")

    def get(workers: int) -> list[Found]:
        if workers not in kept:
            kept[workers] = start(folder / str(workers), workers)
        return kept[workers]

    return get


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one if one[key].numel())


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_workers_equal_one_process(found: Callable[[int], list[Found]], case: str, workers: int) -> None:
    """Loss terms, gradients and centroids of every step, and the state after the last."""
    (alone,), parts = found(1), found(workers)
    assert any(value.any() for key, value in alone[case].items() if "gradient" in key)
    assert len({alone[case][f"{step}/loss"].item() for step in range(NUM_STEPS)}) == NUM_STEPS
    for part in parts:
        assert largest_difference(part[case], alone[case]) < 1e-9


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_whole_epochs_equal_those_of_one_process(found: Callable[[int], list[Found]], workers: int) -> None:
    (alone,), parts = found(1), found(workers)
    names = {"1/train/loss", "2/val/loss", "2/val/accuracy", "2/val/f1_macro", "2/val/ece", "2/oracle/accuracy"}
    assert names <= alone[WHOLE_EPOCHS].keys()
    for part in parts:
        assert largest_difference(part[WHOLE_EPOCHS], alone[WHOLE_EPOCHS]) < 1e-6


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_fitted_heads_equal_those_of_one_process(found: Callable[[int], list[Found]], name: str) -> None:
    (alone,), parts = found(1), found(2)
    assert alone[name]["val/accuracy"] > 0.9
    for part in parts:
        assert largest_difference(part[name], alone[name]) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_workers_are_the_same_to_the_last_bit(found: Callable[[int], list[Found]], case: str) -> None:
    first, *others = found(3)
    for other in others:
        assert largest_difference(first[case], other[case]) == 0


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_would_show(found: Callable[[int], list[Found]], mutation: str) -> None:
    (alone,), parts = found(1), found(2)
    for case in MUTATIONS[mutation][0]:
        assert all(largest_difference(part[f"{mutation}/{case}"], alone[case]) > 1e-4 for part in parts)
