"""Studies on hosts that are reached by ssh: launch/hosts.sh."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .bench import Bench
from .hosts import Host, Hosts, Process, wait_until
from .ssh import launch, start_sshd, why_no_ssh, write_keys

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
HOSTS = ("head", "one", "two")
TOKEN = "/tmp/scr-20000/token"


@pytest.fixture(scope="module")
def ssh_bench(can_make_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three hosts that are reached by ssh, and a desk from which commands are given; no Ray."""
    if why_no_ssh():
        pytest.skip(why_no_ssh())
    with Hosts(tmp_path_factory.mktemp("ssh")) as hosts:
        made = Bench(hosts)
        made.nodes = hosts.up(*HOSTS)
        write_keys(hosts)
        for host in made.nodes:
            start_sshd(host)
        yield made


@pytest.fixture
def desk(ssh_bench: Bench) -> Iterator[Host]:
    """The host from which commands are given, with a new study in the shared folder. Afterwards no Ray is left."""
    ssh_bench.wait_for_mlflow()
    ssh_bench.new_study()
    yield ssh_bench.desk
    for process in ssh_bench.desk.started:
        if process.is_running and "hosts.sh" in process.log.name:  # of a test that has failed
            process.signal(signal.SIGTERM)
            process.wait()
    for host in ssh_bench.nodes:
        assert not processes_of_ray(host)
        assert not host.outside(TOKEN).exists()


def processes_of_ray(host: Host) -> str:
    return host.exec("pgrep", "-af", "raylet|gcs_server|ray::", check=False).output


def start(bench: Bench, *words: str, hosts: tuple[str, ...] = HOSTS, options: tuple[str, ...] = ()) -> Process:
    variables = {"MLFLOW_TRACKING_URI": bench.mlflow_uri}
    return launch(bench.desk, *options, ",".join(hosts), bench.file, *words, **variables)


def test_one_command_tunes_on_hosts(ssh_bench: Bench, desk: Host) -> None:
    """And the token is on no command line, without it Ray answers nobody, and Ray's ports are those of the block."""
    process = start(ssh_bench)
    ssh_bench.wait_for_trials(process, 1)
    token = ssh_bench.head.outside(TOKEN).read_text()
    for host in (*ssh_bench.nodes, desk):
        assert token not in host.exec("ps", "-eo", "args").output
    for host in ssh_bench.nodes:
        listening = host.exec("ss", "-Hltnp").output
        (ssh_bench.hosts.shared / f"{host.name}.ss").write_text(listening)
        assert set(ports_of_ray(listening)) <= set(range(20000, 20200))
    asked = ("ray", "status", f"--address={ssh_bench.head.address}:20000")
    assert ssh_bench.head.exec(*asked, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64, check=False).returncode != 0
    assert ssh_bench.head.exec(*asked, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token).returncode == 0
    assert process.wait() == 0, process.output
    ssh_bench.check_study()


def ports_of_ray(listening: str) -> Iterator[int]:
    """The ports on which others than ssh and MLflow listen, by the output of `ss -Hltnp`, of all interfaces."""
    for line in listening.splitlines():
        words = line.split()
        address, _, port = words[3].rpartition(":")
        if int(port) not in (22, 5000) and not address.startswith("127."):
            yield int(port)


@pytest.mark.nightly
def test_same_command_follows_running_study(ssh_bench: Bench, desk: Host) -> None:
    first = start(ssh_bench, hosts=("head", "one"))
    ssh_bench.wait_for_trials(first, 1)
    first.signal(signal.SIGKILL)
    first.wait()
    other = start(ssh_bench, "num_seeds=2", hosts=("head", "one"))
    assert other.wait() == 2
    assert "runs another study" in other.output
    second = start(ssh_bench)  # with one host more, which joins
    second.wait_for_output("runs this study already")
    wait_until(lambda: processes_of_ray(ssh_bench.hosts["two"]), "a node on two")
    assert second.wait() == 0, second.output
    ssh_bench.check_study()


@pytest.mark.nightly
def test_terminated_launcher_cancels_study(ssh_bench: Bench, desk: Host) -> None:
    process = start(ssh_bench)
    ssh_bench.wait_for_trials(process, 1)
    process.signal(signal.SIGTERM)
    assert process.wait() == 143, process.output
    ssh_bench.check_closed(preempted=True)
    again = start(ssh_bench)
    assert again.wait() == 0, again.output
    ssh_bench.check_study()


def test_each_faulty_host_is_named(ssh_bench: Bench, desk: Host) -> None:
    ssh_bench.hosts["two"].start("python", "-m", "http.server", "20005")
    wait_until(lambda: "20005" in ssh_bench.hosts["two"].exec("ss", "-Hltn").output, "a busy port")
    told = {
        "head,desk": "desk does not answer by ssh: ssh: connect to host desk port 22: Connection refused",
        "head,nobody": "nobody does not answer by ssh: ssh: Could not resolve hostname nobody",
        "head,two": "two something listens on its port 20005; give other --ports",
        "two,head": "two something listens on its port 20005; give other --ports",
        "one,head,one": "each host must be named once",
    }
    for hosts, text in told.items():
        process = start(ssh_bench, hosts=tuple(hosts.split(",")), options=("--strict",))
        assert process.wait() == 2, process.output
        assert text in process.output
    assert "got no /root/none.yaml there" in refused(desk, "--dir", "/root", "head", "none.yaml")
    assert "head has no ray; install it there in /usr" in refused(desk, "--env", "/usr", "head", "none.yaml")


def test_host_behind_firewall_is_named(ssh_bench: Bench, desk: Host) -> None:
    """Soon, where Ray would wait for the head for long; and what was started on the head is stopped."""
    rule = ("blackhole", f"{ssh_bench.head.address}/32")
    ssh_bench.nodes[1].exec("ip", "route", "add", *rule)
    process = start(ssh_bench, hosts=("head", "one"), options=("--strict",))
    assert process.wait() == 1, process.output
    assert f"one does not join: no connection to {ssh_bench.head.address}:20000" in process.output
    ssh_bench.nodes[1].exec("ip", "route", "del", *rule)


def refused(desk: Host, *words: str) -> str:
    process = launch(desk, *words)
    assert process.wait() == 2, process.output
    return process.output
