"""What readers need to know of a study's data, stored when the study begins, so that they need not load them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_TUPLES = ("class_names", "val_class_counts", "notes")


@dataclass(frozen=True)
class DataSummary:
    """A description of a study's data under its base configuration.

    Attributes:
        class_names: names of the classes, by index.
        counts: number of samples of each split by its name: `labeled`, `unlabeled`, `val` and `test`.
        val_class_counts: number of validation samples of each class, by index.
        num_unknown: number of samples whose label is not known.
        num_oracle: number of unlabeled samples of the target whose label is known; 0 without a target.
        notes: sentences about what was left out of the data or is odd.
        fingerprint: digest of samples, labels and splits; empty if it is not known.
        samples_digest: digest of samples and labels, whatever the splits; empty if it is not known.
    """

    class_names: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    val_class_counts: tuple[int, ...] = ()
    num_unknown: int = 0
    num_oracle: int = 0
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    samples_digest: str = ""

    @property
    def has_test(self) -> bool:
        """Whether there is a test split, as there is if nothing is known of the data."""
        return self.counts.get("test", 1) > 0

    def to_json(self) -> str:
        """Returns the description as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None) -> DataSummary:
        """Returns the description in a text that `to_json` made; what an older one lacks is empty."""
        tree: dict[str, Any] = json.loads(text) if text else {}
        if not isinstance(tree, dict):
            raise TypeError(f"a {type(tree).__name__}")
        known = {one.name for one in fields(cls)} & tree.keys()
        values: dict[str, Any] = {key: tuple(tree[key]) if key in _TUPLES else tree[key] for key in known}
        return cls(**values)
