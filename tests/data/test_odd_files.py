"""Generated odd files: each is read with exactly the right counts or refused in one line, and nothing else happens."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sources import checked, config, metrics, read
from test_files import WRITERS

from supercm_ray.errors import StudyError

Rng = np.random.Generator


@dataclass(frozen=True)
class Expected:
    """What a file holds; None where a reader must refuse it."""

    num_samples: int
    num_unlabeled: int
    names: tuple[str, ...]


def inputs(rng: Rng, n: int) -> tuple[np.ndarray, bool]:
    """Inputs of some type and shape, and whether they can be used."""
    kind = rng.choice(
        ["vectors", "vectors", "grey", "colour", "floats", "wide", "nan", "inf", "dims", "empty", "complex"]
    )
    vectors = rng.normal(size=(n, 5)).astype(rng.choice(["f2", "f4", "f8"]))
    if kind in ("nan", "inf"):
        vectors[rng.integers(n), rng.integers(5)] = np.nan if kind == "nan" else np.inf
        return vectors, False
    made = {
        "vectors": (vectors if rng.random() < 0.5 else (vectors * 50).astype(rng.choice(["i1", "i2", "i8"])), True),
        "grey": (rng.integers(0, 256, (n, 4, 6)).astype(np.uint8), True),
        "colour": (rng.integers(0, 256, (n, 3, 4, 6)).astype(np.uint8), True),
        "floats": (rng.random((n, 4, 6, 3)) * rng.choice([1e-3, 1, 255, 1e4]), True),
        "wide": (rng.integers(0, 4096, (n, 4, 6)).astype(rng.choice(["u2", "i4", "i8"])), True),
        "dims": (rng.random((n,) if rng.random() < 0.5 else (n, 2, 2, 2, 2)), False),
        "empty": (np.zeros((n, 0)) if rng.random() < 0.5 else np.zeros((0, 3)), False),
        "complex": (vectors * 1j, False),
    }
    return made[str(kind)]


def labels(rng: Rng, n: int) -> tuple[np.ndarray, Expected | None]:
    """Labels of some kind, and what they mean."""
    plain = rng.permutation(np.arange(n) % 3)
    hidden = rng.random(n) < 0.3
    numbers = ("0", "1", "2")
    partly = np.where(hidden, -1, plain)
    seen = tuple(map(str, range(int(partly.max()) + 1)))
    some = Expected(n, int(hidden.sum()), seen)
    words = np.array(["cat", "dog", "owl"])[plain]
    named = tuple(sorted(set(words[~hidden].tolist())))
    kind = rng.choice(
        ["plain", "partly", "nan", "words", "onehot", "bool", "none", "halves", "wrapped", "short", "soft", "low"]
    )
    made: dict[str, tuple[np.ndarray, Expected | None]] = {
        "plain": (plain.astype(rng.choice(["u1", "i4", "f4"])), Expected(n, 0, numbers)),
        "partly": (partly[:, None] if rng.random() < 0.5 else partly, some),
        "nan": (np.where(hidden, np.nan, plain), some),
        "words": (np.where(hidden, "", words), Expected(n, int(hidden.sum()), named)),
        "onehot": (np.eye(3)[plain] * ~hidden[:, None], Expected(n, int(hidden.sum()), numbers)),
        "bool": (plain > 0, Expected(n, 0, ("False", "True"))),
        "none": (np.full(n, -1), Expected(n, n, ())),
        "halves": (plain + 0.5, None),
        "wrapped": (np.append(plain[1:], -1).astype(np.uint8), None),
        "short": (plain[:-1], None),
        "soft": (np.full((n, 3), 1 / 3), None),
        "low": (plain - 7, None),
    }
    return made[str(kind)]


def check(expected: Expected | None, name: str, root: Path, may_refuse: bool = False, **options: object) -> None:
    try:
        dataset = read(name, root, **options)
    except StudyError as error:
        assert expected is None or may_refuse, error
        assert "\n" not in str(error)
        assert str(error)
        return
    assert expected is not None, "this must be refused"
    found = Expected(len(dataset.labels), int((dataset.labels < 0).sum()), dataset.class_names)
    assert found == expected
    assert dataset.images.shape[0] == expected.num_samples
    assert bool(dataset.unlabeled_because) == (expected.num_unlabeled == expected.num_samples)
    assert np.isfinite(dataset.images[np.arange(expected.num_samples)]).all()
    if expected.num_unlabeled < expected.num_samples:
        train(expected, name, root, **options)


def train(expected: Expected, name: str, root: Path, **options: object) -> None:
    """Trains two steps on what a reader accepted: every sample is in the split that its label allows, and the loss is
    a number, or one line says what is missing.
    """
    few = {"labels_per_class": 1, "num_val": max(2, len(expected.names)), "test_fraction": 0.0}
    data = {"name": name, "root": str(root), "options": options, **few}
    steps = {"training.num_epochs": 1, "training.steps_per_epoch": 2, "training.labeled_batch_size": 4}
    is_image = name == "image_folder"
    model = {"model.name": "small_cnn" if is_image else "mlp", "model.options.channels": [2, 2] if is_image else [4]}
    chosen = config(data, **steps, **model)
    try:
        dataset, splits = checked(chosen)
    except StudyError as error:
        assert "\n" not in str(error)
        assert "; " in str(error)  # before the remedy
        return
    known = np.concatenate([splits.labeled, splits.val, splits.test])
    everything = np.sort(np.concatenate([known, splits.unlabeled]))
    assert np.array_equal(everything, np.arange(expected.num_samples))
    assert int((dataset.labels < 0).sum()) == expected.num_unlabeled
    assert (dataset.labels[known] >= 0).all()
    assert np.array_equal(np.bincount(dataset.labels[splits.labeled]), np.ones(dataset.num_classes))
    assert all(map(math.isfinite, metrics(chosen).values()))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("file", WRITERS)
def test_odd_arrays(file: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng((seed, *file.encode()))
    n = int(rng.integers(3, 24))
    (x, is_usable), (y, meaning) = inputs(rng, n), labels(rng, n)
    if len(y) != n and file.endswith("mat"):
        y = y[:, None]
    needs_text = y.dtype.kind == "U" and not file.endswith(("npz", "a.mat"))
    content = {"images": x} if needs_text else {"images": x, "labels": y}
    expected = Expected(n, n, ()) if needs_text else meaning
    if file == "a.mat" and y.dtype.kind == "b":
        expected = Expected(n, 0, ("0", "1"))  # which these files keep as numbers
    try:
        WRITERS[file](tmp_path / file, content)
    except (TypeError, ValueError, KeyError):
        pytest.skip("the format does not know this type")
    is_cut = rng.random() < 0.2
    if is_cut:
        whole = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(whole[: rng.integers(len(whole))])
    check(expected if is_usable else None, "arrays", tmp_path, may_refuse=is_cut, file=file)


@pytest.mark.parametrize("seed", range(60))
def test_odd_tables(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng((seed, 1))
    n = int(rng.integers(3, 24))
    y, expected = labels(rng, n)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    if y.ndim == 1 and len(y) == n:
        frame["labels"] = y
    elif y.ndim > 1 and y.shape[1] == 1:
        frame["labels"] = y[:, 0]
    else:
        expected = Expected(n, n, ())
    fault = rng.choice(["none", "none", "none", "text", "gap", "line", "bytes"])
    frame = frame.astype({"a": object}) if fault == "text" else frame
    if fault in ("text", "gap"):
        frame.loc[int(rng.integers(n)), "a"] = "?" if fault == "text" else np.nan
    if rng.random() < 0.3 and fault != "text":
        frame.to_parquet(tmp_path / "a.parquet")
        return check(None if fault == "gap" else expected, "arrays", tmp_path, file="a.parquet")
    text = frame.to_csv(index=bool(rng.random() < 0.5)).encode()
    if fault == "line":
        text += b"1,2,3,4,5,6,7,8,9\n"
    if fault == "bytes":
        text = text[:40] + b"\xff\xfe\x00" + text[40:]
    (tmp_path / "a.csv").write_bytes(text)
    is_broken = fault in ("gap", "line", "bytes")
    return check(None if is_broken else expected, "arrays", tmp_path, may_refuse=fault == "bytes", file="a.csv")


def picture(rng: Rng) -> tuple[bytes, str]:
    """An encoded image, whole or not, and a suffix for its file."""
    kind = rng.choice(
        ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "F", "I", "I;16", "gif", "cut", "text", "empty", "nan"]
    )
    pixels = rng.integers(0, 256, (*rng.integers(1, 12, 2), 4)).astype(np.uint8)
    if kind in ("text", "empty"):
        return (b"no image" if kind == "text" else b""), str(rng.choice([".png", ""]))
    if kind in ("F", "I", "I;16", "nan"):
        dtype = {"F": np.float32, "I": np.int32, "I;16": np.uint16, "nan": np.float32}[str(kind)]
        values = pixels[..., 0].astype(dtype) * (np.nan if kind == "nan" else 1)
        image = Image.fromarray(values.astype(dtype))
    else:
        image = Image.fromarray(pixels, "RGBA").convert(str(kind) if kind not in ("gif", "cut") else "L")
    buffer = io.BytesIO()
    image.save(buffer, format="GIF" if kind == "gif" else "TIFF" if kind in ("F", "I", "CMYK", "nan") else "PNG")
    content = buffer.getvalue()
    return (
        content[: len(content) // 3] if kind == "cut" else content,
        str(rng.choice([".png", ".tif", ".JPG", ""])),
    )


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("seed", range(60))
def test_odd_folders(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng((seed, 2))
    places = [["cat", "dog", "unlabeled"], ["cat", "dog"], ["."], ["cat", "_unlabeled"], ["train/cat", "train/dog"]]
    folders = places[rng.integers(len(places))]
    num, unlabeled, is_certain = 0, 0, True
    for i in range(int(rng.integers(4, 14))):
        content, suffix = picture(rng)
        place = folders[i % len(folders)]
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f"{i}{suffix}").write_bytes(content)
        if suffix or _is_known(content):
            num += 1
            unlabeled += place in (".", "unlabeled", "_unlabeled")
            is_certain &= _is_whole(content)
    (tmp_path / folders[0] / ".DS_Store").write_bytes(b"\0")
    names = tuple(
        sorted(
            {path.split("/")[-1] for path in folders if (tmp_path / path).is_dir()} - {".", "unlabeled", "_unlabeled"}
        )
    )
    options = {"image_size": 6, "stream": str(rng.choice(["on", "off"]))}
    check(Expected(num, unlabeled, names) if is_certain else None, "image_folder", tmp_path, may_refuse=True, **options)


def _is_known(content: bytes) -> bool:
    """Whether Pillow knows from these bytes what kind of image they begin."""
    try:
        Image.open(io.BytesIO(content)).close()
    except Exception:
        return False
    return True


def _is_whole(content: bytes) -> bool:
    """Whether Pillow reads finite pixels from these bytes."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return bool(np.isfinite(np.asarray(image, dtype=np.float64)).all())
    except Exception:
        return False


def test_odd_tensors_are_refused(tmp_path: Path) -> None:
    cases: list[object] = [
        {"images": torch.eye(4).to_sparse(), "labels": torch.arange(4)},
        {"images": torch.ones(4, 3), "labels": {"a": 1}},
        {"images": "text", "labels": torch.arange(4)},
        {"images": None},
        [],
        3,
        torch.ones(()),
        {"images": torch.ones(4, 3, dtype=torch.complex64)},
        {"images": torch.ones(4, 3), "labels": ["a", 1, None, "b"]},
        {"images": torch.ones(4, 3), "labels": [["a"], ["b", "c"], [], []]},
    ]
    for case in cases:
        torch.save(case, tmp_path / "a.pt")
        check(None, "arrays", tmp_path, file="a.pt")
    torch.save({"images": torch.ones(4, 3, dtype=torch.bfloat16), "labels": ["b", None, "a", "a"]}, tmp_path / "a.pt")
    check(Expected(4, 1, ("a", "b")), "arrays", tmp_path, file="a.pt")
