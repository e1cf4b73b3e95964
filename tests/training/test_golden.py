"""Training is what it was: the losses of the first steps, as make_golden.py wrote them."""

from __future__ import annotations

import json

import pytest
from make_golden import CONFIGS, GOLDEN, NUM_STEPS, losses


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_losses_are_the_golden_ones(name: str) -> None:
    golden, got = json.loads(GOLDEN.read_text(encoding="utf-8"))[name], losses(CONFIGS[name])
    assert set(got) == set(golden)
    for term, values in golden.items():
        assert len(values) == NUM_STEPS
        assert got[term] == pytest.approx(values, rel=1e-4), term
