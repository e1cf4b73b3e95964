"""Every registered algorithm keeps the contract, and so does one that a user adds."""

from __future__ import annotations

from collections.abc import Iterator

import flexmatch_plugin
import pytest
from torch.nn import functional

from supercm_ray.algorithms import ALGORITHMS, Step, Terms
from supercm_ray.testing.algorithm import AlgorithmContract


class TestSupervised(AlgorithmContract):
    name = "supervised"


class TestAdaBN(AlgorithmContract):
    name = "adabn"


class TestPiModel(AlgorithmContract):
    name = "pi_model"


class TestMeanTeacher(AlgorithmContract):
    name = "mean_teacher"


class TestVat(AlgorithmContract):
    name = "vat"


class TestPseudoLabel(AlgorithmContract):
    name = "pseudo_label"
    overrides = {"algorithm.options.threshold": 0.0}


class TestFixMatch(AlgorithmContract):
    name = "fixmatch"
    overrides = {"algorithm.options.threshold": 0.0}


class TestFlexMatch(AlgorithmContract):
    name = "flexmatch"
    overrides = {"algorithm.options.threshold": 0.35}


class TestFlexMatchWithoutWarmUp(AlgorithmContract):
    name = "flexmatch"
    overrides = {"algorithm.options.threshold": 0.35, "algorithm.options.warm_up": False}


class TestFlexMatchAsAPlugin(AlgorithmContract):
    name = "my_flexmatch"
    overrides = {"algorithm.options.threshold": 0.35}


class TestFreeMatch(AlgorithmContract):
    name = "freematch"
    overrides = {"algorithm.options.decay": 0.9, "algorithm.options.fairness_weight": 0.5}


class TestSoftMatch(AlgorithmContract):
    name = "softmatch"
    overrides = {"algorithm.options.decay": 0.9}


class TestDann(AlgorithmContract):
    name = "dann"


class TestCdan(AlgorithmContract):
    name = "cdan"


class TestCdanWithoutEntropy(AlgorithmContract):
    name = "cdan"
    overrides = {"algorithm.options.entropy_conditioning": False}


class TestMcc(AlgorithmContract):
    name = "mcc"


class TestPseudoLabeledCentroids(AlgorithmContract):
    name = "supervised"
    overrides = {"algorithm.centroid_mode": "pseudo_labeled", "algorithm.centroid_threshold": 0.3}


class TestLearnedCentroids(AlgorithmContract):
    name = "supervised"
    overrides = {"algorithm.centroid_mode": "learned"}


class TestAddedByAUser(AlgorithmContract):
    name = "entropy_minimisation"

    @pytest.fixture(autouse=True)
    def registered(self) -> Iterator[None]:
        @ALGORITHMS.register(self.name, requires={"unlabeled"})
        def entropy_minimisation(step: Step) -> Terms:
            log_p = functional.log_softmax(step.unlabeled_logits, dim=1)
            return {"consistency": -(log_p.exp() * log_p).sum(dim=1).mean()}

        yield
        ALGORITHMS.remove(self.name)


def test_every_algorithm_is_under_contract() -> None:
    covered = {cls.name for cls in AlgorithmContract.__subclasses__()}
    fitted_at_once = {name for name, entry in ALGORITHMS.entries().items() if "fixed_features" in entry.requires}
    assert covered >= set(ALGORITHMS.names()) - fitted_at_once  # which have tests of their own
    assert ALGORITHMS.find("my_flexmatch").make is flexmatch_plugin.FlexMatch
