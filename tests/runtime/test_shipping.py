"""The code that is sent to the nodes of a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import supercm_ray
from supercm_ray.errors import ClusterError
from supercm_ray.runtime import shipping
from supercm_ray.runtime.shipping import code_to_ship


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, which is searched for modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


def test_plugins_of_the_working_directory_are_sent(here: Path) -> None:
    (here / "plugin_module_here.py").write_text("")
    (here / "plugin_package_here" / "inner").mkdir(parents=True)
    (here / "plugin_package_here" / "__init__.py").write_text("")
    names = ["plugin_module_here", "plugin_package_here.inner", "plugin_package_here", "numpy", "no_such_module"]
    expected = (str(here / "plugin_module_here.py"), str(here / "plugin_package_here"))
    assert code_to_ship(names, ship_code=False) == expected


def test_what_is_installed_is_not_sent(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = here / "venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "plugin_installed_here.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    assert code_to_ship(["plugin_installed_here"], ship_code=False) == ()


def test_the_package_is_sent_when_asked_for(here: Path) -> None:
    assert code_to_ship([], ship_code=True) == (str(Path(supercm_ray.__file__).resolve().parent),)


def test_a_package_with_data_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LARGEST_BYTES", 2 * 2**20)
    (here / "plugin_with_data").mkdir()
    (here / "plugin_with_data" / "__init__.py").write_text("")
    (here / "plugin_with_data" / "images.bin").write_bytes(bytes(3 * 2**20))
    with pytest.raises(ClusterError, match=r"must have 2 MiB or less, got 3 MiB in .*plugin_with_data"):
        code_to_ship(["plugin_with_data"], ship_code=False)
