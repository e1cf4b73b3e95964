"""Keeping trials and workers off nodes that are left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ray.tune import PlacementGroupFactory

_NODE_ID = "ray.io/node-id"  # a label that Ray gives each node


def elsewhere_than(left_out: Collection[str]) -> dict[str, str] | None:
    """Returns Ray's label selector for all nodes but those with these ids; None for all nodes."""
    return {_NODE_ID: f"!in({','.join(sorted(left_out))})"} if left_out else None


def placed(resources: Mapping[str, float], left_out: Collection[str]) -> PlacementGroupFactory:
    """Returns Ray Tune's request for the resources of a trial's process on any node that is not left out."""
    selector = elsewhere_than(left_out)
    more = {"bundle_label_selector": [selector]} if selector else {}
    return PlacementGroupFactory([dict(resources)], **more)
