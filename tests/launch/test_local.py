"""`launch/local.sh`: MLflow and optuna-dashboard beside a study, and what is left when it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from studies import Place

SCRIPT = Path(__file__).parents[2] / "launch" / "local.sh"
SERVER = f"""\
#!{sys.executable}
import http.server, os, sys
from pathlib import Path
Path("servers", str(os.getpid())).touch()
port = int(sys.argv[sys.argv.index("--port") + 1])
Path(Path(sys.argv[0]).name).write_text(" ".join(sys.argv[1:]))
http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
STUDY = """\
#!/usr/bin/env bash
if [[ $* == *--dry-run* ]]; then echo "name: tiny"; exit; fi
echo "$RAY_ADDRESS $*" > given
mkdir -p results/tiny && touch results/tiny/optuna.db
trap 'exit 130' INT; trap 'exit 143' TERM; trap 'exit 75' USR1
touch began
until [[ -e end ]]; do sleep 0.05; done
exit 7
"""


def wait_until(said: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not said():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class StandIns:
    """A directory with commands that stand in for the study and both servers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "bin").mkdir()
        (path / "servers").mkdir()
        for name, text in {"supercm-ray": STUDY, "mlflow": SERVER, "optuna-dashboard": SERVER}.items():
            (path / "bin" / name).write_text(text)
            (path / "bin" / name).chmod(0o755)

    def start(self, *words: str, before: tuple[str, ...] = (), **streams: int) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
        environment = {**kept, "PATH": f"{self.path / 'bin'}:{kept['PATH']}"}
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen([*before, SCRIPT, *words], cwd=self.path, env=environment, text=True, **given)

    def servers(self) -> list[int]:
        return [int(path.name) for path in (self.path / "servers").iterdir()]

    def wait(self) -> None:
        """Waits until the study has begun and both servers run."""
        wait_until(lambda: (self.path / "began").exists() and len(self.servers()) == 2, "study and servers begin")

    def wait_for_the_end(self) -> None:
        wait_until(lambda: not any(map(is_running, self.servers())), "the servers end")


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


def test_without_options_it_only_tunes_here(stand_ins: StandIns) -> None:
    (stand_ins.path / "end").touch()
    assert stand_ins.start("tiny.yaml", "budget.num_trials=2").wait(60) == 7
    assert (stand_ins.path / "given").read_text() == "local tune tiny.yaml budget.num_trials=2\n"
    assert not stand_ins.servers()


def test_the_servers_get_what_they_show(stand_ins: StandIns) -> None:
    process = stand_ins.start("--mlflow", "--dashboard", "tiny.yaml", "--results", "there/results", "a.b=1")
    (stand_ins.path / "there/results/tiny").mkdir(parents=True)
    (stand_ins.path / "there/results/tiny/optuna.db").touch()
    stand_ins.wait()
    (stand_ins.path / "end").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert (stand_ins.path / "given").read_text() == "local tune tiny.yaml --results there/results a.b=1\n"
    assert "--host 127.0.0.1" in (stand_ins.path / "mlflow").read_text()
    shown = (stand_ins.path / "optuna-dashboard").read_text()
    assert f"sqlite:///{stand_ins.path}/there/results/tiny/optuna.db" in shown
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)", output)
    assert len(ports) == 2
    assert ports[1] in shown
    stand_ins.wait_for_the_end()


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_reaches_the_study_first(stand_ins: StandIns, name: str, status: int) -> None:
    process = stand_ins.start("--mlflow", "--dashboard", "tiny.yaml")
    stand_ins.wait()
    process.send_signal(signal.Signals[name])
    assert process.wait(60) == status
    stand_ins.wait_for_the_end()


def test_ctrl_c_on_a_terminal_ends_all(stand_ins: StandIns) -> None:
    terminal, inner = os.openpty()
    streams = {"stdin": inner, "stdout": inner, "stderr": inner}
    process = stand_ins.start("--mlflow", "--dashboard", "tiny.yaml", before=("setsid", "--ctty", "--wait"), **streams)
    os.close(inner)
    stand_ins.wait()
    os.write(terminal, b"\x03")
    assert process.wait(60) == 130
    stand_ins.wait_for_the_end()
    os.close(terminal)


def test_the_servers_do_not_outlive_a_killed_script(stand_ins: StandIns) -> None:
    process = stand_ins.start("--mlflow", "--dashboard", "tiny.yaml")
    stand_ins.wait()
    process.kill()
    process.wait(60)
    stand_ins.wait_for_the_end()
    (stand_ins.path / "end").touch()


def test_a_server_that_cannot_start_is_told(stand_ins: StandIns) -> None:
    (stand_ins.path / "bin/mlflow").write_text("#!/usr/bin/env bash\necho no room; exit 1\n")
    process = stand_ins.start("--mlflow-port", "1", "tiny.yaml")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("error: MLflow's server must start on port 1, got:\nno room\n")
    assert not (stand_ins.path / "began").exists()


def test_a_server_elsewhere_needs_none_here(stand_ins: StandIns) -> None:
    process = stand_ins.start("--mlflow", "tiny.yaml", before=("env", "MLFLOW_TRACKING_URI=http://elsewhere"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "got a server in MLFLOW_TRACKING_URI" in errors


@pytest.mark.slow
def test_both_servers_show_a_real_study(place: Place) -> None:
    environment = place.environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(SCRIPT.parents[1])
    words = ["--mlflow", "--dashboard", "tiny.yaml", "--executor", "in-process", "budget.num_trials=500"]
    output = place.path / "output"
    with output.open("w") as file:
        process = subprocess.Popen([SCRIPT, *words], cwd=place.path, env=environment, stdout=file, stderr=file)

    def shown(path: str, index: int) -> str:
        addresses = re.findall(r"http://127\.0\.0\.1:\d+", output.read_text())
        try:
            with urllib.request.urlopen(addresses[index] + path, timeout=5) as answer:
                return str(answer.read().decode())
        except (OSError, IndexError):
            assert process.poll() in (None, 130, 143), output.read_text()
            return ""

    wait_until(lambda: '"tiny"' in shown("/api/studies", 1), "optuna-dashboard shows the study", 120)
    experiments = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=supercm_ray"
    wait_until(lambda: "supercm_ray" in shown(experiments, 0), "MLflow shows the experiment", 120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) in (130, 143)
    assert not shown("/health", 0)
    assert not shown("/api/studies", 1)
