"""Messages about a tracker's errors, without credentials."""

from __future__ import annotations

from supercm_ray.credentials import without_credentials


def reason_of(error: BaseException) -> str:
    """Returns an error as one line, without credentials."""
    lines = str(error).strip().splitlines()
    said = without_credentials(lines[0]) if lines else ""
    told = type(error).__name__ in ("MlflowException", "TrackingError") or not said
    return (said or type(error).__name__) if told else f"{type(error).__name__}: {said}"
