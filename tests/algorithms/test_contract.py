"""Every registered host keeps the contract, and so does one that a user adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from torch.nn import functional

from supercm_ray.algorithms import ALGORITHMS, Step, Terms, register

from .contract import TARGET, AlgorithmContract


class TestSupervised(AlgorithmContract):
    name = "supervised"


class TestPiModel(AlgorithmContract):
    name = "pi_model"


class TestMeanTeacher(AlgorithmContract):
    name = "mean_teacher"


class TestVat(AlgorithmContract):
    name = "vat"


class TestPseudoLabel(AlgorithmContract):
    name = "pseudo_label"


class TestFixMatch(AlgorithmContract):
    name = "fixmatch"


class TestDann(AlgorithmContract):
    name = "dann"
    settings: ClassVar[dict[str, object]] = TARGET


class TestCdan(AlgorithmContract):
    name = "cdan"
    settings: ClassVar[dict[str, object]] = TARGET


class TestCdanWithoutEntropy(AlgorithmContract):
    name = "cdan"
    settings: ClassVar[dict[str, object]] = {**TARGET, "algorithm.entropy_conditioning": False}


class TestMcc(AlgorithmContract):
    name = "mcc"
    settings: ClassVar[dict[str, object]] = TARGET


class TestPseudoLabeledCentroids(AlgorithmContract):
    name = "supervised"
    settings: ClassVar[dict[str, object]] = {
        "algorithm.centroid_mode": "pseudo_labeled",
        "algorithm.confidence_threshold": 0.3,
    }


class TestLearnedCentroids(AlgorithmContract):
    name = "supervised"
    settings: ClassVar[dict[str, object]] = {"algorithm.centroid_mode": "learned"}


class TestAddedByAUser(AlgorithmContract):
    name = "entropy_minimisation"

    @pytest.fixture(autouse=True)
    def registered(self) -> Iterator[None]:
        @register(self.name)
        def entropy_minimisation(step: Step) -> Terms:
            log_p = functional.log_softmax(step.unlabeled_logits, dim=1)
            return {"consistency": -(log_p.exp() * log_p).sum(dim=1).mean()}

        yield
        del ALGORITHMS[self.name]


def test_every_host_is_under_contract() -> None:
    covered = {cls.name for cls in AlgorithmContract.__subclasses__()}
    assert covered >= set(ALGORITHMS)
