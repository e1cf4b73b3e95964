"""Words of messages about data: other libraries' errors in one line, counts with an example, lists of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MOST_NAMES = 10


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def counted(examples: Sequence[str], what: str) -> tuple[str, ...]:
    """Returns a note that names the first example, with the count in place of {}; nothing if there is none."""
    return (f"{what.replace('{}', str(len(examples)), 1)}, the first is {examples[0]}",) if examples else ()


def listed(names: Iterable[str]) -> str:
    """Returns names in one line, at most ten of them."""
    found = [f"`{name}`" for name in names]
    rest = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return (", ".join(found[:_MOST_NAMES]) or "nothing") + rest
