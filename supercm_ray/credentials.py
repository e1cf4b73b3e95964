"""Hides credentials in texts, so that neither messages nor logs, records or trackers show any."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
_SHORTEST = 6  # characters of a secret that is looked for as such; a shorter one would hide ordinary words

_WORDS = r"passw|passphrase|pwd|token|secret|credential|signature|(?:api|access|account|private)[_-]?key"
_NAME = rf"[\w.%-]*(?:{_WORDS})[\w.%-]*"
_END = r"(?=['\"`)\]},;]*(?:[\s&]|$))"  # what closes a quoted address is no part of it

_PATTERNS = (
    # user:password@ and token@ behind ://, up to the last @ if there is a password, but not a port
    re.compile(r"(?<=[A-Za-z0-9]://)(?P<secret>[^/:@\s]*:(?!\d+(?:[/?#\s'\"`),;]|$))\S*|[^/\s?#]*)(?=@)"),
    re.compile(r"(?i)(?<=%3a%2f%2f)(?P<secret>[^\s&/]*)(?=%40)"),
    re.compile(rf"(?i)(?<=[?&;#])(?P<name>{_NAME}|sig|pass|key|auth)=(?P<secret>[^\s&]+?){_END}"),
    re.compile(rf"(?i)(?<![\w?&;#.%-])(?P<name>{_NAME})=(?P<secret>[^\s&]+?){_END}"),
)
_VARIABLE = re.compile(rf"(?i)^(?!(?:old)?pwd$|.*_(?:file|path|mode)$).*(?:{_WORDS})")


def has_credentials(text: str) -> bool:
    """Returns whether a text has an address with credentials in it."""
    return any(match["secret"] not in ("", HIDDEN) for pattern in _PATTERNS for match in pattern.finditer(text))


def without_credentials(text: str) -> str:
    """Returns the text with all credentials hidden: those of addresses in any form, and the values of environment
    variables that are secret by their name or hold an address with credentials.
    """
    for secret in _secrets_of(tuple(os.environ.items())):
        text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    if not match["secret"]:
        return match[0]
    name = match.groupdict().get("name")
    return f"{name}={HIDDEN}" if name else HIDDEN


@lru_cache(maxsize=4)
def _secrets_of(variables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Returns the secrets in environment variables, the longest first."""
    found: set[str] = set()
    for name, value in variables:
        secrets = [value] if _VARIABLE.search(name) else []
        for pattern in _PATTERNS:
            secrets += [match["secret"].partition(":")[2] or match["secret"] for match in pattern.finditer(value)]
        found |= {form for secret in secrets for form in (secret, unquote(secret), unquote_plus(secret))}
    return tuple(sorted((one for one in found if len(one) >= _SHORTEST), key=len, reverse=True))
