"""Checks manifests as a Kubernetes would, and for misspelt keys, which it may ignore:

    kubectl get crd rayjobs.ray.io rayclusters.ray.io -o yaml > crds.yaml
    python launch/kubernetes/check.py --crd crds.yaml launch/kubernetes/*.yaml

Prints a line for each mistake, and ends with 1 if there is one. Run by tests/launch/test_manifests.py.
"""

from __future__ import annotations

import argparse
import difflib
import gzip
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

import yaml
from jsonschema import Draft202012Validator

Schema = Mapping[str, object]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"},
        "generateName": TEXT,
        "namespace": TEXT,
        "labels": TEXTS,
        "annotations": TEXTS,
        "finalizers": {"type": "array", "items": TEXT},
    },
}
"""Metadata of anything; definitions of custom resources leave them open."""
NAMED: Schema = {**METADATA, "required": ["name"]}


def _core(*required: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", *required],
        "properties": {"apiVersion": TEXT, "kind": TEXT, "metadata": NAMED, **properties},
    }


CORE: Mapping[str, Schema] = {
    "ConfigMap": _core(data=TEXTS, binaryData=TEXTS, immutable={"type": "boolean"}),
    "Secret": _core(type=TEXT, data=TEXTS, stringData=TEXTS, immutable={"type": "boolean"}),
    "PersistentVolumeClaim": _core(
        "spec",
        spec={
            "type": "object",
            "required": ["accessModes", "resources"],
            "properties": {
                "accessModes": {
                    "type": "array",
                    "items": {"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]},
                },
                "resources": {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {
                        name: {
                            "type": "object",
                            "required": ["storage"],
                            "properties": {"storage": {"type": ["string", "integer"]}},
                        }
                        for name in ("requests", "limits")
                    },
                },
                "storageClassName": TEXT,
                "volumeName": TEXT,
                "volumeMode": {"enum": ["Filesystem", "Block"]},
                "selector": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
    ),
}
"""What the kinds of Kubernetes itself take that a study needs."""

_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def schemas_of(files: Iterable[Path]) -> dict[tuple[str, str], Schema]:
    """Returns the schema of each apiVersion and kind: of Kubernetes itself, and those that files define."""
    found: dict[tuple[str, str], Schema] = {("v1", kind): schema for kind, schema in CORE.items()}
    for file in files:
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
            for crd in document.get("items", [document]):
                group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
                for version in crd["spec"]["versions"]:
                    schema = version["schema"]["openAPIV3Schema"]
                    required = ["apiVersion", "kind", "metadata", "spec"]
                    properties = {**schema["properties"], "metadata": NAMED}
                    found[f"{group}/{version['name']}", kind] = {
                        **schema,
                        "required": required,
                        "properties": properties,
                    }
    return found


def mistakes_in(manifest: object, schemas: Mapping[tuple[str, str], Schema]) -> list[str]:
    """Returns the mistakes in one manifest, each with its place."""
    if not isinstance(manifest, dict):
        return [f"a manifest must have keys, got {type(manifest).__name__}"]
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind not in schemas:
        known = ", ".join(" ".join(one) for one in sorted(schemas))
        return [f"apiVersion and kind must be known, got {' '.join(kind)}; known here: {known}"]
    wrong = Draft202012Validator(dict(schemas[kind])).iter_errors(manifest)
    return [*(f"{error.json_path}: {error.message}" for error in wrong), *_unknown(manifest, schemas[kind], "$")]


def _unknown(value: object, schema: Schema, place: str) -> Iterator[str]:
    """Yields the keys that a schema does not have, within a value at a place."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unknown(item, cast(Schema, schema.get("items", {})), f"{place}[{i}]")
    if not isinstance(value, dict):
        return
    last = place.rpartition(".")[2]
    properties = cast(Mapping[str, Schema], schema.get("properties", {}))
    others = schema.get("additionalProperties")
    if last == "metadata" and not properties:
        properties = cast(Mapping[str, Schema], METADATA["properties"])
    elif last == "rayStartParams":
        properties, others = dict.fromkeys(_options_of_ray_start(), TEXT), None
    elif last in ("limits", "requests", "resources") and others:
        properties = {key: {} for key in (*_RESOURCES, *(key for key in value if "/" in key))}
        others = None
    elif schema.get("x-kubernetes-preserve-unknown-fields"):
        others = {}
    for key, inner in value.items():
        if key in properties:
            yield from _unknown(inner, properties[key], f"{place}.{key}")
        elif isinstance(others, dict):
            yield from _unknown(inner, others, f"{place}.{key}")
        else:
            near = difflib.get_close_matches(str(key), properties, n=1)
            yield f"{place}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _options_of_ray_start() -> list[str]:
    from ray.scripts.scripts import start

    return [option.removeprefix("--") for parameter in start.params for option in parameter.opts]


def main() -> int:
    """Checks the manifests that the command line names."""
    parser = argparse.ArgumentParser(description="Checks manifests, also for misspelt keys.")
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST")
    parser.add_argument(
        "--crd", action="append", default=[], type=Path, metavar="FILE", help="definitions of KubeRay; YAML, may be .gz"
    )
    given = parser.parse_args()
    schemas = schemas_of(given.crd)
    lines = [
        f"{file}: {mistake}"
        for file in given.manifests
        for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        for mistake in mistakes_in(manifest, schemas)
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
