"""Files and overrides of any kind are refused in one line, soon."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import supercm_ray

from supercm_ray.config import load_study
from supercm_ray.config.yaml_text import MAX_BYTES, MAX_VALUES
from supercm_ray.errors import StudyError

BASE = "base: {data: {label_ratio: 0.1}}\n"
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{former}'] * 9)}]\n" for former, name in zip("abcdef", "bcdefg", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{former}'] * 9)}]}}\n"
    for former, name in zip("abcdef", "bcdefg", strict=True)
)
BAD = {
    "tag of a boolean": ("base: !!bool maybe", "line 1, column 7: values have no tags, got `!!bool`; remove it"),
    "tag of a number": ('base: !!float ""', "got `!!float`"),
    "tag of a date": ("base: !!timestamp x", "got `!!timestamp`"),
    "tag of bytes": ("base: !!binary x", "got `!!binary`"),
    "tag of a set": ("base: !!set {a, b}", "got `!!set`"),
    "tag of Python's": ("base: !!python/name:os.system ''", "got `!!python/name:os.system`"),
    "tag of its own": ("base: !mine 3", "got `!mine`"),
    "laughs": (LAUGHS + "base: 1", f"more than {MAX_VALUES} values, those that aliases stand for included"),
    "laughs by merging": (MERGES + "base: 1", f"more than {MAX_VALUES} values"),
    "many values": (f"base: [{'1,' * MAX_VALUES}]", f"more than {MAX_VALUES} values"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(4000)), "and more broken rules in bad.yaml"),
    "itself": ("base: &b {data: *b}", "the alias `*b` stands within what it names"),
    "deep lists": (f"base: {'[' * 100000}", "more than 50 values are nested in one another"),
    "deep blocks": ("- " * 100000, "more than 50 values are nested in one another"),
    "a large file": (f"# {'x' * MAX_BYTES}\n{BASE}", f"at most {MAX_BYTES} bytes, got more"),
    "a large number": (f"base: {'9' * 100000}", "not valid YAML"),
    "a key twice": (f"{BASE}{BASE}", "the key `base` is given twice"),
    "latin-1": (f"{BASE}name: größe".encode("latin-1"), "it must be UTF-8 text"),
    "UTF-16": (BASE.encode("utf-16"), "it must be UTF-8 text"),
    "a tab": ("base:\n\tdata: 1", "found character"),
    "empty": ("", "a mapping with the key `base` must stand in bad.yaml, got an empty file"),
    "a list": ("- 1", "got list"),
    "two documents": (f"---\n{BASE}---\n{BASE}", "line 3, column 1: expected a single document"),
    "a key that is a list": ("base: {[1]: 2}", "not valid YAML"),
}


MOST_CALLS = 3_000_000
"""Calls of functions that Python makes in about a second; unlike seconds, they do not depend on the machine. A file of
the greatest size takes half of them, an unlimited alias bomb many times as many.
"""


@contextmanager
def counted_calls() -> Iterator[itertools.count]:
    """Counts the calls of functions within the block, in a counter whose next value is their number."""
    calls = itertools.count()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: next(calls) if event in ("call", "c_call") else None)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_soon(write, case: str) -> None:
    text, expected = BAD[case]
    path = write(text, "bad.yaml")
    with pytest.raises(StudyError) as caught, counted_calls() as calls:
        load_study(path)
    assert next(calls) < MOST_CALLS
    message = str(caught.value)
    assert expected in message
    assert "bad.yaml" in message
    assert len(message.splitlines()) == (21 if case == "many keys" else 1)
    assert len(message.splitlines()[0]) < 400


@pytest.mark.parametrize("value", ["!!bool x", "!!python/name:os.system", f"{LAUGHS}", f"[{'[' * 1000}", "*a"])
def test_a_bad_override_is_refused_soon(write, value: str) -> None:
    for key in ("name", "algorithm.temperature", "space.algorithm.temperature"):
        with pytest.raises(StudyError, match="the value of an override must be YAML") as caught:
            load_study(write(BASE), [f"{key}={value}"])
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 300


def test_a_byte_order_mark_is_no_part_of_the_file(write) -> None:
    assert load_study(write(f"{BASE}".encode("utf-8-sig"))).base.data.label_ratio == 0.1


def test_ls_lists_the_others_beside_bad_files(tmp_path: Path) -> None:
    for i, (text, _) in enumerate(BAD.values()):
        (tmp_path / f"bad{i}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "good.yaml").write_text(BASE)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "odd\n.yaml").write_text(BASE)
    (tmp_path / "my study.yaml").write_text(BASE)
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text(BASE)
    done = supercm_ray(tmp_path, "ls", ".")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if ".yaml" in line]
    assert len(lines) == len(BAD) + 4
    assert sum("digits, supervised, 20 trials, no search" in line for line in lines) == 1
    done.stdout.encode()
