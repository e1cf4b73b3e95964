"""Messages of other libraries about damaged files, in one line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
