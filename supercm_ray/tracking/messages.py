"""Messages about a tracker's errors, without credentials."""

from __future__ import annotations

import re


def without_credentials(text: str) -> str:
    """Returns the text with the user and password of any URL in it hidden."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def reason_of(error: BaseException) -> str:
    """Returns an error as one line, without credentials."""
    lines = str(error).strip().splitlines()
    said = without_credentials(lines[0]) if lines else ""
    told = type(error).__name__ in ("MlflowException", "TrackingError") or not said
    return (said or type(error).__name__) if told else f"{type(error).__name__}: {said}"
