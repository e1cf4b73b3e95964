"""`launch/kubernetes/study.sh` against a stand-in for kubectl, which keeps what it is told to apply."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import supercm_ray

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "kubernetes" / "study.sh"
KUBECTL = f"""\
#!{sys.executable}
import sys
from pathlib import Path
words = sys.argv[1:]
with Path("calls").open("a") as file:
    file.write(" ".join(words) + "\\n")
if words[:2] == ["create", "configmap"]:
    file = Path(words[3].removeprefix("--from-file="))
    print("apiVersion: v1\\nkind: ConfigMap\\nmetadata: {{name: " + words[2] + "}}\\ndata:")
    print("  " + file.name + ": |\\n    " + "\\n    ".join(file.read_text().splitlines()))
elif words[0] == "apply":
    Path("applied.yaml").write_text(sys.stdin.read())
elif words[:2] == ["get", "rayjob"] and "-o" in words:
    print(Path("state").read_text() if Path("state").exists() else "", end="")
elif words[:2] == ["get", "pods"]:
    print("pod/head" if Path("head").exists() else "", end="")
"""


class Kubernetes:
    """A directory with the stand-in, and what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "bin").mkdir()
        (path / "bin/kubectl").write_text(KUBECTL)
        (path / "bin/kubectl").chmod(0o755)

    def study(self, *words: str) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run([SCRIPT, *words], cwd=self.path, env=given, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        path = self.path / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def kubernetes(tmp_path: Path) -> Kubernetes:
    return Kubernetes(tmp_path)


def test_start_applies_volume_study_and_job(kubernetes: Kubernetes) -> None:
    shutil.copy(ROOT / "search_spaces/digits.yaml", kubernetes.path / "More-digits_v2.yaml")
    done = kubernetes.study("start", "More-digits_v2.yaml", "budget.num_trials=8", "enqueued_trials=[]")
    assert done.returncode == 0, done.stderr
    (applied,) = [call for call in kubernetes.calls if call.startswith("apply ")]
    assert applied == f"apply -f {SCRIPT.parent}/volume.yaml -f -"
    configuration, job = yaml.safe_load_all((kubernetes.path / "applied.yaml").read_text())
    template = yaml.safe_load((SCRIPT.parent / "rayjob.yaml").read_text())
    assert job["metadata"]["name"] == "more-digits-v2"
    assert configuration["metadata"]["name"] == "more-digits-v2-study"
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert head["metadata"]["labels"] == {"supercm-ray/study": "more-digits-v2"}
    assert {"name": "study", "configMap": {"name": "more-digits-v2-study"}} in head["spec"]["volumes"]
    assert template["spec"].keys() == job["spec"].keys()
    (file, text), *_ = configuration["data"].items()
    words = job["spec"]["entrypoint"].split()
    assert words[:5] == ["supercm-ray", "tune", f"/study/{file}", "budget.num_trials=8", "enqueued_trials=[]"]
    assert words[5:] == template["spec"]["entrypoint"].split()[3:]
    (kubernetes.path / file).write_text(text)
    dry = supercm_ray(kubernetes.path, "tune", file, *words[3:], "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert yaml.safe_load(dry.stdout)["budget"]["num_trials"] == 8


@pytest.mark.parametrize("state", ["Complete", "Failed"])
def test_start_goes_on_with_one_that_ended(kubernetes: Kubernetes, state: str) -> None:
    (kubernetes.path / "state").write_text(state)
    assert kubernetes.study("start", str(ROOT / "search_spaces/digits.yaml")).returncode == 0
    assert kubernetes.calls[1] == "delete rayjob digits"
    assert any(call.startswith("apply ") for call in kubernetes.calls[2:])


def test_start_leaves_one_that_runs_alone(kubernetes: Kubernetes) -> None:
    (kubernetes.path / "state").write_text("Running")
    done = kubernetes.study("start", str(ROOT / "search_spaces/digits.yaml"))
    assert done.returncode == 2
    assert "digits is there already, Running" in done.stderr
    assert len(kubernetes.calls) == 1


def test_status_logs_and_cancel_call_kubectl(kubernetes: Kubernetes) -> None:
    (kubernetes.path / "head").touch()
    for verb in ("status", "logs", "cancel"):
        assert kubernetes.study(verb, "search_spaces/office31_dann.yaml").returncode == 0
    assert kubernetes.calls == [
        "get rayjob office31-dann",
        "get pods -l ray.io/node-type=head,supercm-ray/study=office31-dann -o name",
        "exec pod/head -c ray-head -- supercm-ray status office31_dann",
        "logs --follow job/office31-dann",
        "delete rayjob office31-dann",
    ]


def test_status_after_the_end_needs_no_head(kubernetes: Kubernetes) -> None:
    assert kubernetes.study("status", "digits.yaml").returncode == 0
    assert not [call for call in kubernetes.calls if call.startswith("exec")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say start, status, logs or cancel"),
        (["stop", "digits.yaml"], "got stop"),
        (["start", "nowhere.yaml"], "cannot read the study file nowhere.yaml"),
        (["start", "1st.yaml"], "must have a name"),
        (["start", str(ROOT / "search_spaces/digits.yaml"), "name=a; reboot"], "needs no quotes: name=a; reboot"),
    ],
)
def test_what_cannot_be_is_refused(kubernetes: Kubernetes, words: list[str], said: str) -> None:
    done = kubernetes.study(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert kubernetes.calls == []
