"""What a trial's process does with errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from supercm_ray.errors import DivergedError, StorageError, SuperCMError, WorkersError
from supercm_ray.runtime.tune_trainable import FAILURE, PROCESS_FAILED, TrialRunner


def runner(error: SuperCMError) -> TrialRunner:
    """One whose run comes to this error before its first epoch; to begin afresh it would need more."""

    def messages() -> Iterator[dict[str, Any]]:
        raise error
        yield {}

    made = TrialRunner.__new__(TrialRunner)
    made._epoch, made._messages = 0, messages()
    return made


def test_a_storage_that_fails_is_raised_for_another_try_and_no_checkpoint_is_put_aside() -> None:
    with pytest.raises(StorageError, match="timed out"):
        runner(StorageError("a checkpoint must be read from s3://bucket, got timed out")).step()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(DivergedError("the loss is nan"), "the loss is nan"), (WorkersError("gone", "all"), f"{PROCESS_FAILED}: gone")],
)
def test_what_is_final_is_the_result(error: SuperCMError, reason: str) -> None:
    assert runner(error).step() == {"epoch": 1, FAILURE: reason, "done": True}
