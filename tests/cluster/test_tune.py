"""What a study on three hosts leaves, whatever happens to them."""

from __future__ import annotations

import pytest

from .bench import Bench

pytestmark = pytest.mark.cluster


def test_tune_from_head_on_shared_folder(bench: Bench) -> None:
    bench.tune()
    bench.check_study()
