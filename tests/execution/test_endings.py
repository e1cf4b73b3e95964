"""How a command ends that is stopped from outside: its exit status, what it says, its records, runs and session."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from studies import Place

from supercm_ray.config import Study
from supercm_ray.errors import InterruptedStudyError, PreemptedError
from supercm_ray.execution import interruption
from supercm_ray.execution.executor import Phase, RunQueue
from supercm_ray.execution.in_process import InProcessExecutor
from supercm_ray.records import StudyFolder
from supercm_ray.tuning.study import tune

TUNE = ("tune", "tiny.yaml", "--executor", "in-process", "num_seeds=1", "training.num_epochs=200")
ENDS = {
    signal.SIGINT: (130, "interrupted by Ctrl-C", "interrupted", "false"),
    signal.SIGTERM: (143, "interrupted by SIGTERM", "preempted", "true"),
    signal.SIGUSR1: (75, "interrupted by SIGUSR1", "preempted", "true"),
}


def wait_until(what: str, condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < until, f"no {what}: {process.communicate()[0]}"
        time.sleep(0.05)


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


@pytest.mark.parametrize("sig", ENDS)
def test_each_signal_has_its_exit_status(place: Place, sig: signal.Signals) -> None:
    exit_code, reason, end, preempted = ENDS[sig]
    process = place.start(*TUNE)
    place.wait_for(process, "trials/0000/metrics.jsonl", 1)
    session = place.folder.session()
    assert (session.host, session.pid, session.end, session.ended_ms) == (socket.gethostname(), process.pid, "", None)
    assert session.command == "supercm-ray " + " ".join(TUNE)
    assert session.is_alive_here
    process.send_signal(sig)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == exit_code, output
    assert last_line(output).startswith(f"tiny was {reason}, ")
    assert "1 to go on from the last checkpoint; the same command resumes it" in last_line(output)
    assert "Traceback" not in output
    (record,) = [record for record in place.folder.runs() if record.status == "interrupted"]
    assert record.reason == f"{reason}; the same command resumes it"
    assert str(record.preempted).lower() == preempted
    tags = {run.data.tags["supercm.kind"]: run.data.tags for run in place.runs() if run.info.status == "KILLED"}
    assert [tags[kind]["supercm.preempted"] for kind in ("study", "trial")] == [preempted, preempted]
    assert not [run for run in place.runs() if run.info.status in ("RUNNING", "SCHEDULED")]
    session = place.folder.session()
    assert (session.end, session.reason, session.is_alive_here) == (end, reason, False)
    assert session.ended_ms is not None


def test_what_was_preempted_is_no_longer_so_once_taken_up(place: Place) -> None:
    process = place.start("train", "tiny.yaml", "training.num_epochs=100")
    (path,) = waited_for(process, place.path, "results/train/*/train/tiny/metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == 143, output
    assert "tiny was interrupted by SIGTERM, 0 runs ended and stay, 1 to go on" in last_line(output)
    folder = StudyFolder.existing(path.parents[2])
    assert folder.run("train/tiny").record().preempted
    (run,) = place.runs()
    assert (run.info.status, run.data.tags["supercm.preempted"]) == ("KILLED", "true")
    assert place.here("train", "tiny.yaml", "training.num_epochs=100").returncode == 0
    (run,) = place.runs()
    assert (run.info.status, run.data.tags["supercm.preempted"]) == ("FINISHED", "false")
    assert (folder.session().end, folder.run("train/tiny").record().preempted) == ("complete", False)


def waited_for(process: subprocess.Popen[str], root: Path, pattern: str) -> list[Path]:
    wait_until(pattern, lambda: list(root.glob(pattern)), process)
    return list(root.glob(pattern))


def test_a_signal_before_the_study_has_the_same_status(place: Place) -> None:
    """As while torch is imported, or the data are read."""
    code = "import os, signal, sys; from supercm_ray.cli import app, main\n"
    code += "app.load_study = lambda *given: os.kill(os.getpid(), getattr(signal, sys.argv.pop()))\nmain()"
    for sig, (exit_code, *_) in ENDS.items():
        words = [sys.executable, "-c", code, "tune", "tiny.yaml", sig.name]
        done = subprocess.run(
            words, cwd=place.path, env=place.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code, done.stderr
        assert "Traceback" not in done.stderr


WHILE_IMPORTED = """
import os, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "supercm_ray.cli.entry":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
"""
ONCE_ENDED = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("moment", [WHILE_IMPORTED, ONCE_ENDED], ids=["while imported", "once ended"])
def test_ctrl_c_outside_the_command_leaves_no_traceback(moment: str) -> None:
    words = [sys.executable, "-c", f"{moment}\nfrom supercm_ray.cli import main\nmain()", "schema"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert done.stdout.startswith("{") == (moment == ONCE_ENDED)


TAKEN = """
import os, signal, sys
from supercm_ray.execution.interruption import check_interrupt, interruptible
try:
    with interruptible():
        signal.signal(signal.SIGUSR1, lambda *given: print("a library has it"))  # as Ray Tune does
        check_interrupt()
        os.kill(os.getpid(), signal.SIGUSR1)
        check_interrupt()
except Exception as error:
    sys.exit(error.exit_code)
"""


def test_signals_that_a_library_takes_are_taken_back() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, ""), done.stderr


WITHIN_A_FINALIZER = """
import os, signal, sys, time
from supercm_ray.cli.entry import say_aside
from supercm_ray.errors import InterruptedStudyError
from supercm_ray.execution.interruption import interruptible, own_process
class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
try:
    with own_process(say_aside), interruptible():
        Finalized()
        time.sleep(60)
except InterruptedStudyError as error:
    sys.exit(error.exit_code)
"""


def test_a_signal_within_a_finalizer_is_not_lost() -> None:
    """As within the collection of garbage, where Python shows an exception and goes on."""
    words = [sys.executable, "-c", WITHIN_A_FINALIZER]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("\n") == 1, "that it is ending"


CLOSES_SLOWLY = """
import sys, time
from supercm_ray.cli.entry import say_aside
from supercm_ray.execution import interruption
interruption._GONE_S = float(sys.argv[1])
with interruption.own_process(say_aside), interruption.interruptible():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closing", flush=True)
        until = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < until:
            time.sleep(0.05)
        print("closed", flush=True)
"""


def closing_slowly(*, gone_s: float, closes_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLOSES_SLOWLY, str(gone_s), str(closes_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def until_closing(process: subprocess.Popen[str]) -> str:
    said = ""
    while not said.endswith("closing\n"):
        said += process.stdout.readline()
    return said


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_second_signal_does_not_break_the_closing(second: signal.Signals) -> None:
    """Not even a second Ctrl-C within a second, as a launcher hands on what the terminal sends as well."""
    process = closing_slowly(gone_s=60, closes_s=0.5)
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again ends at once" in until_closing(process)
    process.send_signal(second)
    output = process.communicate(timeout=30)[0]
    assert "closed\n" in output
    assert "interrupted by Ctrl-C" in output


def test_a_later_ctrl_c_ends_at_once() -> None:
    process = closing_slowly(gone_s=60, closes_s=60)
    process.send_signal(signal.SIGTERM)
    until_closing(process)
    time.sleep(interruption._ONE_PRESS_S + 0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "ended before everything was closed; the same command resumes it\n"
    assert process.returncode == 130


def test_what_does_not_come_to_its_end_is_ended() -> None:
    process = closing_slowly(gone_s=1, closes_s=60)
    process.send_signal(signal.SIGUSR1)
    output = process.communicate(timeout=30)[0]
    assert output.endswith("ended before everything was closed; the same command resumes it\n")
    assert process.returncode == 75


class Losing(InProcessExecutor):
    """An executor whose cluster is lost in mid-run, and that says so as `how` does."""

    def __init__(self, how) -> None:
        super().__init__()
        self.how = how

    def run_all(self, phase: Phase, queue: RunQueue) -> None:
        assert queue.next() is not None
        self.how()


def raising() -> None:
    raise PreemptedError("the cluster's head was lost; start it and give the same command again")


@pytest.mark.parametrize("how", [lambda: interruption.preempt("a lost head"), raising], ids=["preempt", "raise"])
def test_a_lost_cluster_ends_as_preempted(place: Place, short: Study, how) -> None:
    with pytest.raises(PreemptedError, match="lost") as caught:
        tune(short, Losing(how), results=place.path / "results", plots=False)
    assert caught.value.exit_code == 75
    (record,) = place.folder.runs()
    assert (record.status, record.preempted) == ("interrupted", True)
    assert "lost" in record.reason
    assert place.folder.session().end == "preempted"
    assert {run.data.tags["supercm.preempted"] for run in place.runs()} == {"true"}
    assert interruption.came() is None, "the next study of this process begins anew"


def test_a_stop_by_the_caller_is_no_preemption(place: Place, short: Study) -> None:
    with pytest.raises(InterruptedStudyError, match="tiny was interrupted by its caller") as caught:
        tune(short, Losing(lambda: (_ for _ in ()).throw(KeyboardInterrupt)), results=place.path / "results")
    assert caught.value.exit_code == 130
    assert place.folder.session().end == "interrupted"


def test_a_failure_is_noted_with_its_reason(place: Place, short: Study) -> None:
    def broken() -> None:
        raise RuntimeError("a bug of a plug-in at http://user:topsecret@host")

    with pytest.raises(RuntimeError):
        tune(short, Losing(broken), results=place.path / "results", plots=False)
    (record,) = place.folder.runs()
    assert record.reason.startswith("the command failed: a bug of a plug-in")
    assert not record.preempted
    assert place.folder.session().end.startswith("failed: a bug of a plug-in")
    assert "topsecret" not in record.reason + place.folder.read("session.json")


@pytest.mark.slow
def test_a_tracking_server_that_hangs_delays_no_end(place: Place) -> None:
    """A real server is stopped in mid-study, and does not answer while the study is ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = f"sqlite:///{place.path}/mlflow.db"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--backend-store-uri", store, "--workers", "1"],
        cwd=place.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 90
        while not answers(port):
            assert time.monotonic() < until
            time.sleep(0.2)
        place.more["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        process = place.start(*TUNE)
        place.wait_for(process, "trials/0000/metrics.jsonl", 1)
        os.killpg(server.pid, signal.SIGSTOP)
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
        assert time.monotonic() - began < 20
        assert process.returncode == 143, output
        assert "lacks a part of this study" in output
        assert [record.status for record in place.folder.runs()] == ["interrupted"]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
    except OSError:
        return False
