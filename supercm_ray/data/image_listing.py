"""The image files below a folder, and what they are: classes, training, validation and test samples, unlabeled ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from supercm_ray.data.labels import in_order
from supercm_ray.data.reasons import counted, listed, reason
from supercm_ray.errors import StudyError

Part = Literal["train", "val", "test"]
_Found = tuple[Path, str | None, Part]

_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".tga", ".jp2", ".avif", ".ico"}
)
_PARTS: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_UNLABELED = frozenset({"unlabeled", "_unlabeled"})


@dataclass(frozen=True)
class Listing:
    """Image files in the order of their samples.

    Attributes:
        files: the files.
        classes: the class of each file, None where it is unlabeled.
        parts: the part that each file belongs to.
        class_names: names of classes in the order of their labels, those without a file included.
        unlabeled_because: why no file has a class; empty if some have.
        notes: sentences about what was left out.
    """

    files: tuple[Path, ...]
    classes: tuple[str | None, ...]
    parts: tuple[Part, ...]
    class_names: tuple[str, ...]
    unlabeled_because: str = ""
    notes: tuple[str, ...] = ()


class _LeftOut:
    """What is left out, collected for notes."""

    def __init__(self) -> None:
        self.others: list[Path] = []
        self.links: list[Path] = []
        self.deeper: list[Path] = []
        self.beside: list[Path] = []
        self.unlabeled_tests: list[Path] = []

    def notes(self) -> tuple[str, ...]:
        """Returns a note for each kind."""
        kinds = (
            (self.others, "left out {} files that are no images by their names"),
            (self.links, "left out {} links that lead nowhere"),
            (self.deeper, "left out {} files in folders within those of classes"),
            (self.beside, "left out {} images beside the folders of classes"),
            (self.unlabeled_tests, "left out {} images of val or test that are in no folder of a class"),
        )
        return tuple(note for paths, what in kinds for note in counted([str(path) for path in paths], what))


def list_folder(root: Path) -> Listing:
    """Lists a folder of a folder for each class; of `train`, `val` and `test` with such folders; or of images alone,
    all unlabeled. A folder `unlabeled` or `_unlabeled` beside those of classes holds unlabeled images.

    Raises:
        StudyError: for a folder that can be read in several ways.
    """
    left_out = _LeftOut()
    folders = _folders(root)
    parts = {name: _PARTS[name] for name in folders if name in _PARTS}
    others = sorted(set(folders) - set(parts) - _UNLABELED)
    if parts and not others:
        return _list_parts(root, parts, left_out)
    if (
        "train" in parts
        and _folders(root / "train")
        and (len(parts) > 1 or set(_folders(root / "train")) & set(others))
    ):
        raise StudyError(
            "`data.root` must hold a folder for each class, or train, val, test and unlabeled with such folders, "
            f"got both in {root}: {listed(sorted(parts))} beside {listed(others)}; move one of them away"
        )
    found: list[_Found] = [(path, name, "train") for path, name in _list_classes(root, left_out)]
    return _listing(root, found, [name for name in folders if name not in _UNLABELED], left_out)


def list_images(root: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Lists all images below a folder at any depth, and returns them with notes about the other files."""
    left_out = _LeftOut()
    found: list[Path] = []
    for place, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += _images_among(sorted(Path(place) / name for name in names), left_out)
    return found, left_out.notes()


def is_image(path: Path) -> bool:
    """Returns whether a file is an image by its name or, if its name has no suffix, by what it begins with."""
    if path.suffix:
        return path.suffix.lower() in _SUFFIXES
    try:
        with Image.open(path):
            return True
    except Exception:  # whatever Pillow finds wrong, it is no image
        return False


def _list_parts(root: Path, parts: dict[str, Part], left_out: _LeftOut) -> Listing:
    found: list[_Found] = []
    names: set[str] = set()
    if "train" not in parts:
        raise StudyError(
            f"`data.root` must hold `train` beside `val` or `test`, got {listed(sorted(parts))} alone in {root}; add "
            "it, or set data.root to the folder with a folder for each class"
        )
    for folder, part in sorted(parts.items(), key=lambda pair: ("train", "val", "test").index(pair[1])):
        names |= set(_folders(root / folder)) - _UNLABELED
        for path, name in _list_classes(root / folder, left_out):
            if part == "train" or name is not None:
                found.append((path, name, part))
            else:
                left_out.unlabeled_tests.append(path)
    found += [(path, None, "train") for path in _list_unlabeled(root, left_out)]
    return _listing(root, found, names, left_out)


def _list_classes(root: Path, left_out: _LeftOut) -> list[tuple[Path, str | None]]:
    """Lists the images in folders of classes, then the unlabeled ones; without such folders all are unlabeled."""
    found: list[tuple[Path, str | None]] = []
    names = [name for name in in_order(set(_folders(root))) if name not in _UNLABELED]
    for name in names:
        found += [(path, name) for path in _images_in(root / name, left_out)]
        left_out.deeper += _files_within(root / name)
    here = _images_in(root, left_out)
    if names:
        left_out.beside += here
    else:
        found += [(path, None) for path in here]
    return found + [(path, None) for path in _list_unlabeled(root, left_out)]


def _list_unlabeled(root: Path, left_out: _LeftOut) -> list[Path]:
    found = []
    for name in sorted(_UNLABELED):
        if (root / name).is_dir():
            found += _images_in(root / name, left_out)
            left_out.deeper += _files_within(root / name)
    return found


def _listing(root: Path, found: Sequence[_Found], names: Iterable[str], left_out: _LeftOut) -> Listing:
    if not found:
        raise StudyError(
            f"`data.root` must hold images, in a folder for each class or, unlabeled, alone, got none in {root}"
            + "".join(f" ({note})" for note in left_out.notes())
            + "; add some, or set data.root to their folder"
        )
    class_names = tuple(in_order(set(names)))
    is_labeled = any(name is not None for _, name, _ in found)
    because = "" if is_labeled else f"no image in {root} is in a folder of a class"
    files, classes, parts = zip(*found, strict=True)
    return Listing(files, classes, parts, class_names, because, left_out.notes())


def _refuse(error: OSError) -> None:
    raise StudyError(f"every folder of images must be readable, got {reason(error)}; change its rights") from error


def _folders(root: Path) -> list[str]:
    return sorted(path.name for path in _entries(root) if path.is_dir() and not _is_hidden(path.name))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse(error)
        raise


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


def _images_in(folder: Path, left_out: _LeftOut) -> list[Path]:
    return _images_among([path for path in _entries(folder) if not path.is_dir()], left_out)


def _images_among(paths: Iterable[Path], left_out: _LeftOut) -> list[Path]:
    found = []
    for path in paths:
        if path.is_symlink() and not path.exists():
            left_out.links.append(path)
        elif path.is_file() and not path.name.startswith(".") and is_image(path):
            found.append(path)
        else:
            left_out.others.append(path)
    return found


def _files_within(folder: Path) -> list[Path]:
    """Returns the files in folders within a folder of a class."""
    within = [folder / name for name in _folders(folder)]
    return [
        Path(place) / name
        for path in within
        for place, _, names in os.walk(path, onerror=_refuse)
        for name in sorted(names)
    ]
