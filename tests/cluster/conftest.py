"""Hosts for the tests of this room. Where they cannot be made, its tests are skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .bench import Bench
from .hosts import Hosts, why_no_hosts


@pytest.fixture(scope="session")
def can_make_hosts() -> None:
    """Skips where hosts cannot be made."""
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def hosts(can_make_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A switch without hosts, for tests that set up their own."""
    with Hosts.with_token(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(scope="module")
def shared_bench(can_make_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A Ray cluster of three hosts, started once for the tests of a module."""
    with Hosts.with_token(tmp_path_factory.mktemp("hosts")) as hosts:
        bench = Bench(hosts)
        bench.start("head", "one", "two")
        yield bench


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    """A Ray cluster of three hosts, all there, and a study that no other test uses."""
    shared_bench.restore()
    shared_bench.new_study()
    return shared_bench
