"""Fixtures of this room's tests."""

from __future__ import annotations

from runtime.conftest import place

__all__ = ["place"]
