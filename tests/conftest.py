"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from studies import Place

from supercm_ray.config import DataConfig
from supercm_ray.data import Dataset, load_dataset

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell; processes of tests inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # Ray reads them once in a process
os.environ["RAY_ADDRESS"] = "local"  # a Ray that somebody has started on this machine is not for tests

SMALL_STUDY = """\
base:
  data: {name: digits, label_ratio: 0.1}
  model: {options: {channels: [4, 8]}}
  training:
    num_epochs: 3
    steps_per_epoch: 2
    labeled_batch_size: 8
    unlabeled_batch_size: 8
    learning_rate: 1e-2
    device: cpu
space:
  algorithm.clustering_weight: {type: float, low: 0.05, high: 5, log: true}
  data.label_ratio: {type: categorical, choices: [0.05, 0.1]}
objective:
  - {metric: val/accuracy, direction: maximize}
  - {metric: data.label_ratio, direction: minimize}
budget: {num_trials: 3}
sampler: {name: random, seed: 0}
scheduler: {name: asha, options: {grace_period: 1, reduction_factor: 2}}
enqueued_trials:
  - {algorithm.clustering_weight: 1.0, data.label_ratio: 0.1}
baseline: {algorithm.clustering_weight: 0.0}
num_seeds: 2
"""


GROUPS = {
    "cluster/": "cluster",
    "runtime/": "ray",
    "execution/test_executor_contract.py::TestRay": "ray",
    "execution/test_in_process.py::test_the_same_study_under_ray": "ray",
    "execution/test_full_disk.py::test_a_full_disk_under_ray": "ray",
    "execution/test_full_disk.py::test_a_real_full_disk_under_ray": "ray",
    "tuning/": "report",
    "execution/test_study.py": "study",
    "scaling/test_report.py": "scaling",
    "search/test_study_view.py": "view",
    "training/test_parity.py": "parity",
}
"""Tests that share what is dear to make, by their place: one process of `pytest -n` runs a group, in order. All that
start Ray are in one, so that only one Ray runs at a time.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """For `--dist loadgroup` a scheduler that knows these groups; marks of groups do not reach that of pytest-xdist 3.8
    under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            place = nodeid.removeprefix("tests/")
            return next((name for start, name in GROUPS.items() if place.startswith(start)), nodeid)

    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture
def write(tmp_path: Path):
    """Writes a study file of this text and returns its path."""

    def to_file(text: str | bytes, name: str = "broken.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database `mlflow.db` without runs, to be copied, since MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none")
    return path


@pytest.fixture
def place(tmp_path: Path, empty_mlflow: Path) -> Place:
    """A directory with a study of seconds, `tiny.yaml`."""
    return Place.make(tmp_path, empty_mlflow)


class SharedRay:
    """A Ray of this machine, started when it is first wanted."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._is_open = False

    def open(self) -> None:
        from supercm_ray.runtime.cluster import ray_session  # seconds of imports, which most tests do without

        if not self._is_open:
            handlers = {
                sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
            }
            self._held.enter_context(ray_session())
            for sig, handler in handlers.items():  # else what ends one test would end those that come after it
                signal.signal(sig, handler)
            self._is_open = True

    def close(self) -> None:
        self._held.close()
        self._is_open = False


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[SharedRay]:
    """The Ray of this session's tests."""
    made = SharedRay()
    yield made
    made.close()


@pytest.fixture
def ray_cluster(shared_ray: SharedRay) -> None:
    """A Ray of this machine, for tests that need one and leave it as it is."""
    shared_ray.open()


@pytest.fixture
def no_ray(shared_ray: SharedRay) -> None:
    """No Ray, for tests that start one of their own in this process."""
    shared_ray.close()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The digits data set."""
    return load_dataset(DataConfig(label_ratio=0.1))


@pytest.fixture
def small_study(tmp_path: Path) -> Path:
    """The path of a study file that is valid and takes seconds to run."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_STUDY, encoding="utf-8")
    return path
