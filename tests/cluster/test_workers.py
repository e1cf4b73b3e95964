"""Workers of one run on several hosts, whose names are at 127.0.1.1 as Debian installs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supercm_ray.records import StudyFolder
from supercm_ray.scaling.measurements import load_measurements

from .bench import STUDY, Bench
from .hosts import Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
FOR_THREE = {"labeled_batch_size": 12, "unlabeled_batch_size": 12, "storage_path": "/common/checkpoints"}
BASE = {**STUDY["base"], "training": {**STUDY["base"]["training"], **FOR_THREE}}


@pytest.fixture(scope="module")
def debian_bench(can_make_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A cluster of three hosts."""
    with Hosts.with_token(tmp_path_factory.mktemp("debian"), debian_names=True) as hosts:
        bench = Bench(hosts)
        bench.start("head", "one", "two")
        yield bench


def test_train_on_worker_per_host(debian_bench: Bench) -> None:
    debian_bench.new_study(base=BASE)
    debian_bench.give("train", debian_bench.file, "--workers", "3")
    assert status_of_training(debian_bench) == "complete"


@pytest.mark.nightly
def test_train_goes_on_without_host(debian_bench: Bench) -> None:
    longer = {**BASE, "training": {**BASE["training"], "num_epochs": 100}}
    debian_bench.new_study(base=longer)
    words = ("train", debian_bench.file, "--workers", "1:3")
    process = debian_bench.head.start_supercm_ray(*words, cwd="/common", **debian_bench.variables)
    debian_bench.wait_for_work(process, *debian_bench.nodes)
    debian_bench.nodes[2].crash()
    assert process.wait(400) == 0, process.output
    assert status_of_training(debian_bench) == "complete"
    debian_bench.restore()


def status_of_training(bench: Bench) -> str:
    (path,) = (bench.hosts.shared / "results" / "train").glob(f"{bench.name}-*")
    (record,) = StudyFolder.existing(path).runs()
    return record.status


@pytest.mark.nightly
def test_scale_spreads_over_hosts(debian_bench: Bench) -> None:
    debian_bench.new_study(base=BASE)
    settings = ("scaling.placement=spread", "scaling.repetitions=2", "scaling.num_steps=4")
    done = debian_bench.give("scale", debian_bench.file, "--num-workers", "1,3", *settings)
    path = Path("/common") / done.output.splitlines()[-1]
    measured = load_measurements(debian_bench.head.outside(path))
    assert sorted(one.num_workers for one in measured.repetitions) == [1, 1, 3, 3]
    assert {node.name for node in measured.nodes} == {"head", "one", "two"}
