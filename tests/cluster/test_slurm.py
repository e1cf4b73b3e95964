"""A study under a real SLURM, whatever happens to its job: it completes, and the job's exit status is right."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import yaml

from supercm_ray.records import StudyFolder

from .bench import STUDY
from .check import check_closed, check_study
from .hosts import Hosts, wait_until
from .slurm import LAUNCHER, Job, Slurm, why_no_slurm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SETUP = """\
export RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=150000000 READ_BY_JOB=yes
"""
_GPUS = """
import ray
ray.init(logging_level="error")
print("GPUs on nodes:", [node["Resources"].get("GPU") for node in ray.nodes()])
"""
_NUMBERS = count()


@dataclass
class Study:
    """A study file in the shared folder, and the jobs that tune it."""

    slurm: Slurm
    name: str

    @property
    def path(self) -> Path:
        return self.slurm.hosts.shared / "results" / self.name

    @property
    def database(self) -> Path:
        return self.slurm.hosts.shared / "mlflow.db"

    def write(self, **changes: object) -> None:
        """Writes the study file, with these keys changed."""
        text = yaml.safe_dump({**STUDY, "name": self.name, **changes})
        (self.slurm.hosts.shared / f"{self.name}.yaml").write_text(text)

    def submit(self, *words: str) -> Job:
        """Submits by the launcher, on both nodes unless told otherwise."""
        return self.slurm.submit(str(LAUNCHER), f"{self.name}.yaml", "--setup=setup.sh", "--nodes=2", *words)

    @property
    def num_complete(self) -> int:
        if not (self.path / "study.json").exists():
            return 0
        return sum(record.status == "complete" for record in StudyFolder.existing(self.path).runs("trial"))

    def wait_for_trials(self, job: Job, number: int) -> None:
        """Waits until so many trials are complete, while the job runs."""

        def has_come() -> bool:
            assert job.state in ("PENDING", "RUNNING"), f"{job.state} {job.exit_status}\n{job.output}"
            return self.num_complete >= number

        wait_until(has_come, f"{number} trials of {self.name}", timeout_s=240, pause_s=0.5)

    def check_complete(self) -> None:
        """Every run is there once, and records, Optuna and MLflow agree."""
        check_study(self.path, self.database)

    def check_closed(self) -> None:
        """Records and MLflow's runs are closed, and tagged as preempted."""
        check_closed(self.path, self.database, preempted=True)


@pytest.fixture(scope="module")
def shared_slurm(can_make_hosts: None, tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[Slurm]:
    """SLURM with two nodes, started once; skips where it is not installed."""
    reason = why_no_slurm()
    if reason:
        pytest.skip(reason)
    with Hosts(tmp_path_factory.mktemp("hosts"), debian_names=True) as hosts:
        slurm = Slurm(hosts, "login", "n1", "n2")
        shutil.copy(empty_mlflow, hosts.shared)
        (hosts.shared / "setup.sh").write_text(SETUP)
        yield slurm
    slurm.stop()


@pytest.fixture
def study(shared_slurm: Slurm) -> Study:
    """A study that no other test uses, and both nodes idle."""
    shared_slurm.give("scancel", "--user=root")
    for node in shared_slurm.nodes:
        if node.exec("pgrep", "slurmd", check=False).returncode:
            shared_slurm.turn_on(node)
    shared_slurm.wait_for_nodes()
    made = Study(shared_slurm, f"study{next(_NUMBERS)}")
    made.write()
    return made


def check_nothing_left(job: Job) -> None:
    """Nothing of a job is left on the nodes."""
    job.slurm.wait_for_nodes()
    for node in job.slurm.nodes:
        assert "raylet" not in job.slurm.processes(node)
        assert not list(node.outside("/tmp").glob(f"supercm-{job.number}.*"))


def test_cancelled_job_is_taken_up(study: Study) -> None:
    study.write(budget={"num_trials": 8})
    job = study.submit()
    study.wait_for_trials(job, 1)
    job.cancel()
    job.wait_for("CANCELLED")
    assert job.exit_status == 143
    assert job.restarts == 0
    study.check_closed()
    check_nothing_left(job)
    study.submit().wait_for_completion()
    study.check_complete()


@pytest.mark.nightly
@pytest.mark.parametrize("time", range(10))
def test_study_outlives_everything_at_once(study: Study, time: int) -> None:
    """Cancelled, submitted again, requeued, at its time limit, then without one of its nodes."""
    study.write(budget={"num_trials": 200})
    first, second = study.slurm.nodes
    job = study.submit()
    study.wait_for_trials(job, 1)
    job.cancel()
    job.wait_for("CANCELLED")
    assert job.exit_status == 143

    job = study.submit()
    study.wait_for_trials(job, study.num_complete + 1)
    study.slurm.give("scontrol", "requeue", str(job.number))
    job.wait_for_restart(1)
    study.wait_for_trials(job, study.num_complete + 1)
    job.near_time_limit()
    job.wait_for("PENDING")
    study.check_closed()
    job.set_time_limit("UNLIMITED")
    study.write(budget={"num_trials": study.num_complete + 8})
    study.wait_for_trials(job, study.num_complete + 1)
    (first if time % 2 else second).off()
    if time % 2:
        study.slurm.turn_on(first)
    job.wait_for_completion()
    study.check_complete()


@pytest.mark.nightly
def test_study_is_seen_and_cancelled_elsewhere(study: Study) -> None:
    study.write(budget={"num_trials": 200})
    job = study.submit()
    study.wait_for_trials(job, 1)
    seen = study.slurm.give("supercm-ray", "status", study.name).output
    assert re.search(r"state +running", seen), seen
    study.slurm.give("supercm-ray", "cancel", study.name)
    job.wait_for("FAILED")
    assert (job.exit_status, job.restarts) == (143, 0)
    study.check_closed()
    check_nothing_left(job)


@pytest.mark.nightly
def test_time_limit_requeues_job(study: Study) -> None:
    study.write(budget={"num_trials": 200})
    job = study.submit()
    study.wait_for_trials(job, 1)
    job.near_time_limit()
    job.wait_for("PENDING")
    assert "is requeued and goes on" in job.output
    study.check_closed()
    job.set_time_limit("UNLIMITED")
    study.write(budget={"num_trials": study.num_complete + 3})
    job.wait_for_completion()
    study.check_complete()


@pytest.mark.nightly
def test_array_goes_past_time_limit(study: Study) -> None:
    study.write(budget={"num_trials": 5000})
    array = study.submit("--array=1-9%1", "--time=5", "--signal=B:USR1@60").number
    first = Job(study.slurm, array, task=1)
    first.wait_for("FAILED")
    assert (first.exit_status, first.restarts) == (75, 0)
    study.write(budget={"num_trials": study.num_complete + 3})
    study.check_closed()
    Job(study.slurm, array, task=2).wait_for_completion()
    wait_until(lambda: study.slurm.give("squeue", "-h").output == "", "the end of the array", pause_s=1)
    study.check_complete()


@pytest.mark.nightly
def test_study_goes_on_without_node(study: Study) -> None:
    study.write(budget={"num_trials": 12})
    job = study.submit()
    study.wait_for_trials(job, 1)
    study.slurm.nodes[1].off()
    job.wait_for_completion()
    assert job.restarts == 0
    study.check_complete()


@pytest.mark.nightly
def test_lost_first_node_requeues_job(study: Study) -> None:
    study.write(budget={"num_trials": 12})
    job = study.submit()
    study.wait_for_trials(job, 1)
    study.slurm.nodes[0].off()
    wait_until(lambda: job.value("NodeList") == "n2", "n1 taken out of the job", pause_s=1)
    study.slurm.turn_on(study.slurm.nodes[0])
    job.wait_for_completion()
    assert job.restarts == 1
    study.check_complete()


@pytest.mark.nightly
def test_requeued_job_takes_study_up(study: Study) -> None:
    study.write(budget={"num_trials": 8})
    job = study.submit()
    study.wait_for_trials(job, 1)
    study.slurm.give("scontrol", "requeue", str(job.number))
    job.wait_for_completion()
    assert job.restarts == 1
    study.check_complete()


@pytest.mark.nightly
def test_two_jobs_share_nodes(study: Study) -> None:
    other = Study(study.slurm, f"{study.name}b")
    other.write()
    jobs = [study.submit(), other.submit()]
    for job in jobs:
        job.wait_for_completion()
    study.check_complete()
    other.check_complete()


@pytest.mark.nightly
def test_script_is_submitted_itself(study: Study) -> None:
    job = study.slurm.submit("sbatch", "--nodes=1", str(LAUNCHER), f"{study.name}.yaml", "--", "budget.num_trials=2")
    study.wait_for_trials(job, 1)
    listening = study.slurm.nodes[0].exec("ss", "-Hltn").output
    ports = [line.split()[3] for line in listening.splitlines()]
    assert [port for port in ports if not re.match(r"127\.|\[::ffff:127\.|\[::1\]|.*:6818$", port)] == []
    job.wait_for_completion()


@pytest.mark.nightly
def test_token_is_in_environments_alone(study: Study) -> None:
    study.write(budget={"num_trials": 5000})  # so that it goes on meanwhile, however fast the machine is
    job = study.submit("--gpus-per-node=2")
    study.wait_for_trials(job, 1)
    first, second = study.slurm.nodes
    pid = first.exec("pgrep", "-of", "supercm-ray tune").output.split()[0]
    variables = first.exec("cat", f"/proc/{pid}/environ").output.split("\0")
    found = dict(variable.partition("=")[::2] for variable in variables)
    token, address = found["RAY_AUTH_TOKEN"], found["RAY_ADDRESS"]
    assert address.startswith(first.address)
    assert found["READ_BY_JOB"] == "yes"
    assert token not in study.slurm.processes(first) + study.slurm.processes(second)
    assert token not in job.output
    without = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
    refused = second.exec("timeout", "60", "python", "-c", _GPUS, check=False, **without)  # Ray may wait for ever
    assert refused.returncode != 0
    assert "GPUs on nodes" not in refused.output
    given = second.exec("python", "-c", _GPUS, RAY_ADDRESS=address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert "GPUs on nodes: [2.0, 2.0]" in given.output
    job.cancel()


@pytest.mark.nightly
def test_failed_ray_start_fails_job(study: Study) -> None:
    jobs = [study.slurm.submit("sbatch", "--wrap=true", "--output=/dev/null").number + 1]
    port = 10000 + jobs[0] % 2000 * 10
    taken = study.slurm.nodes[0].start("python", "-m", "http.server", str(port))
    wait_until(lambda: f":{port}" in study.slurm.nodes[0].exec("ss", "-Hltn").output, "the port is taken")
    job = study.submit()
    job.wait_for("FAILED")
    assert job.number == jobs[0]
    assert job.exit_status == 1
    assert "Ray does not start on n1" in job.output
    taken.popen.kill()
    check_nothing_left(job)


def test_mistakes_are_refused_before_queue(study: Study) -> None:
    study.write(budget={"num_trials": -1})
    given = [[f"{study.name}.yaml"], ["none.yaml"], [], [f"{study.name}.yaml", "--setup=none.sh"]]
    for words in given:
        done = study.slurm.give(str(LAUNCHER), *words, check=False)
        assert done.returncode == 2, done.output
        assert "Submitted" not in done.output
