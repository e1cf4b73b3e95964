"""What is said of a tracker's errors."""

from __future__ import annotations

import re


def without_credentials(text: str) -> str:
    """The text with the user and password of any address in it hidden."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def reason_of(error: BaseException) -> str:
    """One line of any error, without credentials."""
    lines = str(error).strip().splitlines()
    said = without_credentials(lines[0]) if lines else ""
    told = type(error).__name__ in ("MlflowException", "TrackingError") or not said
    return (said or type(error).__name__) if told else f"{type(error).__name__}: {said}"
