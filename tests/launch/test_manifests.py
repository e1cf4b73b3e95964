"""The manifests are what KubeRay's definitions say, agree with each other, and no misspelt key passes."""

from __future__ import annotations

import copy
import importlib.util
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from commands import supercm_ray

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
CRDS = sorted(Path(os.environ.get("SUPERCM_SCHEMAS", "/nowhere")).glob("kuberay-*.yaml.gz"))
needs_crds = pytest.mark.skipif(not CRDS, reason="SUPERCM_SCHEMAS does not name the folder of KubeRay's definitions")
FREE = {"labels", "annotations", "stringData"}
"""Maps whose keys are the user's own."""
CLOSING_S = 20

Steps = tuple[str | int, ...]


def _load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", FOLDER / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = _load_check()


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], object]:
    return dict(check.schemas_of(CRDS))


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def keys_of(value: object, steps: Steps = ()) -> Iterator[Steps]:
    """The places of all keys below a value that are not the user's own."""
    if isinstance(value, dict) and not (steps and steps[-1] in FREE):
        for key, inner in value.items():
            yield (*steps, key)
            yield from keys_of(inner, (*steps, key))
    if isinstance(value, list):
        for i, inner in enumerate(value):
            yield from keys_of(inner, (*steps, i))


def parent_of(manifest: Any, steps: Steps) -> Any:
    for step in steps[:-1]:
        manifest = manifest[step]
    return manifest


def misspell(key: str, draw: random.Random) -> str:
    """One letter left out, doubled, swapped with the next, or in the other case."""
    i = draw.randrange(len(key))
    edits = (
        key[:i] + key[i + 1 :],
        key[:i] + key[i] + key[i:],
        key[:i] + key[i : i + 2][::-1] + key[i + 2 :],
        key[:i] + key[i].swapcase() + key[i + 1 :],
    )
    wrong = [edit for edit in edits if edit != key]
    return draw.choice(wrong)


def other_type(value: object, draw: random.Random) -> object:
    others = [[{"wrong": 1}], {"wrong": 1}, "wrong", True]
    return draw.choice([other for other in others if type(other) is not type(value)])


@needs_crds
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_manifest_is_right(file: Path, schemas: dict[tuple[str, str], object]) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    assert documents
    assert [mistake for one in documents for mistake in check.mistakes_in(one, schemas)] == []


@needs_crds
@pytest.mark.parametrize("seed", range(10))
def test_ten_seeded_typos_are_caught(seed: int, schemas: dict[tuple[str, str], object]) -> None:
    draw = random.Random(seed)
    manifest = load(draw.choice(FILES).name)
    steps = draw.choice(list(keys_of(manifest)))
    parent, key = parent_of(manifest, steps), str(steps[-1])
    if seed % 3 < 2:
        wrong = misspell(key, draw)
        parent[wrong] = parent.pop(key)
    else:
        parent[key] = other_type(parent[key], draw)
    assert check.mistakes_in(manifest, schemas), (steps, parent)


@needs_crds
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_typo_in_any_key_is_caught(file: Path, schemas: dict[tuple[str, str], object]) -> None:
    draw, whole = random.Random(0), load(file.name)
    for steps in keys_of(whole):
        manifest = copy.deepcopy(whole)
        parent, key = parent_of(manifest, steps), str(steps[-1])
        parent[misspell(key, draw)] = parent.pop(key)
        assert check.mistakes_in(manifest, schemas), steps


@needs_crds
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("rayjob.yaml", ("kind",)),
        ("rayjob.yaml", ("metadata", "name")),
        ("rayjob.yaml", ("spec",)),
        ("rayjob.yaml", ("spec", "rayClusterSpec", "headGroupSpec")),
        ("rayjob.yaml", ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers")),
        ("raycluster.yaml", ("spec", "workerGroupSpecs", 0, "maxReplicas")),
        ("volume.yaml", ("spec", "accessModes")),
    ],
)
def test_what_is_required_is_missed(name: str, steps: Steps, schemas: dict[tuple[str, str], object]) -> None:
    manifest = load(name)
    del parent_of(manifest, steps)[steps[-1]]
    assert check.mistakes_in(manifest, schemas)


@needs_crds
def test_the_lines_in_comments_are_right_too(schemas: dict[tuple[str, str], object]) -> None:
    text = (FOLDER / "rayjob.yaml").read_text()
    with_queue = text.replace("  # labels:\n  #   kueue", "  labels:\n    kueue")
    with_gpu = with_queue.replace(
        'limits: {cpu: "4", memory: 8Gi}', 'limits: {cpu: "4", memory: 8Gi, nvidia.com/gpu: 1}'
    )
    assert text != with_queue != with_gpu
    manifest = yaml.safe_load(with_gpu)
    assert manifest["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "QUEUE"}
    assert check.mistakes_in(manifest, schemas) == []


@needs_crds
def test_the_command_names_file_place_and_remedy(tmp_path: Path) -> None:
    text = (FOLDER / "volume.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("accessModes", "acessModes"))
    words = [word for crd in CRDS for word in ("--crd", str(crd))]
    command = [sys.executable, str(FOLDER / "check.py"), *words]
    right = subprocess.run([*command, str(FOLDER / "volume.yaml")], capture_output=True, text=True, check=False)
    assert (right.returncode, right.stdout) == (0, ""), right.stderr
    wrong = subprocess.run([*command, str(tmp_path / "wrong.yaml")], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert f"{tmp_path}/wrong.yaml: $.spec: unknown key 'acessModes'; did you mean 'accessModes'?\n" in wrong.stdout


def clusters() -> list[tuple[str, Any]]:
    return [
        ("rayjob.yaml", load("rayjob.yaml")["spec"]["rayClusterSpec"]),
        ("raycluster.yaml", load("raycluster.yaml")["spec"]),
    ]


@pytest.mark.parametrize(("name", "cluster"), clusters(), ids=lambda one: one if isinstance(one, str) else "")
def test_clusters_are_what_a_study_needs(name: str, cluster: Any) -> None:
    versions = dict(re.findall(r"^(\w[\w-]*)==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert cluster["rayVersion"] == versions["ray"]
    assert cluster["authOptions"]["mode"] == "token"
    head, *workers = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert head["rayStartParams"]["num-cpus"] == "0"
    pod = head["template"]["spec"]
    environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert CLOSING_S < int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) < pod["terminationGracePeriodSeconds"]
    assert environment["SUPERCM_RESULTS"].startswith("/")
    claim = load("volume.yaml")["metadata"]["name"]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for group in (head, *workers):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == f"supercm-ray:{version[1]}"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        assert {"name": "results", "persistentVolumeClaim": {"claimName": claim}} in pod["volumes"]
    assert not any("envFrom" in group["template"]["spec"]["containers"][0] for group in workers)


def test_the_job_gives_a_command_that_is_understood(tmp_path: Path) -> None:
    job = load("rayjob.yaml")["spec"]
    program, *words = job["entrypoint"].split()
    assert program == "supercm-ray"
    (mount,) = [
        one["mountPath"]
        for one in job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if one["name"] == "study"
    ]
    given = [word.replace(f"{mount}/", f"{ROOT}/search_spaces/") for word in words]
    done = supercm_ray(tmp_path, *given, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert given != words


def test_the_cluster_begins_without_workers() -> None:
    spec = load("raycluster.yaml")["spec"]
    (group,) = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] is True
    assert (group["replicas"], group["minReplicas"]) == (0, 0) < (1, 1) <= (group["maxReplicas"], 1)
