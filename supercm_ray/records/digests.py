"""Digests in the files of a run, by which a shortened or altered file is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from supercm_ray.records.files import damaged

DIGEST = "digest"
"""The key of a digest in a JSON object; files of earlier versions have none."""

_LENGTH = 12


def digest_of(*parts: str) -> str:
    """Returns a digest of texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def with_digest(tree: Mapping[str, object]) -> dict[str, object]:
    """Returns a JSON object with its digest."""
    return {**tree, DIGEST: digest_of(_canonical(tree))}


def check_digest(tree: dict[str, object], path: Path, remedy: str) -> None:
    """Checks a JSON object that `with_digest` made and removes its digest. No-op for one without.

    Raises:
        DamagedError: if it was altered.
    """
    given = tree.pop(DIGEST, None)
    if given is not None and given != digest_of(_canonical(tree)):
        raise damaged(path, "other values than its digest was made from", remedy)


def _canonical(tree: Mapping[str, object]) -> str:
    return json.dumps(tree, sort_keys=True)


def write_line(metrics: Mapping[str, float], key: str, before: str) -> str:
    """Returns the line for the metrics of an epoch, whose digest covers the run's key and all lines before.

    Args:
        metrics: numbers by name.
        key: the key of the run.
        before: the digest of the line before; empty for the first.
    """
    return json.dumps({**metrics, DIGEST: digest_of(key, before, json.dumps(metrics))})


def read_lines(text: str, key: str, *, from_first: bool = True) -> tuple[list[dict[str, float]], list[str], str]:
    """Reads lines that `write_line` made, up to the first that is not as it was written. An unfinished last line is
    not read.

    Args:
        text: the content of the file.
        key: the key of the run.
        from_first: whether the text begins with the first line of the file; if not, its first line is read as it is,
            since its digest covers lines that are not there.

    Returns:
        The metrics of each epoch, the digest of each line (empty for one of an earlier version), and what is wrong with
        the line after them, empty if nothing is.
    """
    history: list[dict[str, float]] = []
    digests: list[str] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        metrics, digest = _line(line)
        before = digests[-1] if digests else ""
        if not metrics:
            return history, digests, f"no metrics in line {len(history) + 1}"
        is_covered = history or from_first
        if is_covered and (digest or before) and digest != digest_of(key, before, json.dumps(metrics)):
            return history, digests, f"other values than their digest was made from in line {len(history) + 1}"
        history.append(metrics)
        digests.append(digest)
    return history, digests, ""


def read_last_line(text: str, key: str) -> tuple[dict[str, float], str] | None:
    """Reads the last line that `write_line` made, without those before it.

    Returns:
        Its metrics and its digest; no metrics if there is no line; None if the last line is not as it was written or
        is unfinished.
    """
    if not text:
        return {}, ""
    *_, one, other, end = ["", "", *text.rsplit("\n", 3)]
    before, last = _line(one)[1] if one else "", _line(other)
    if end or not last[0] or ((last[1] or before) and last[1] != digest_of(key, before, json.dumps(last[0]))):
        return None
    return last


def _line(line: str) -> tuple[dict[str, float], str]:
    """Returns the metrics and the digest in a line; no metrics if it is none."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return {}, ""
    if not isinstance(tree, dict):
        return {}, ""
    digest = tree.pop(DIGEST, "")
    if not all(isinstance(value, int | float) for value in tree.values()) or not tree.get("epoch", 0) >= 1:
        return {}, ""
    return tree, str(digest)
