"""Images whose labels are in a table of file names and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from supercm_ray.data.array_files import ArrayFile, check_key, open_arrays
from supercm_ray.data.image_listing import Listing, Part, list_images
from supercm_ray.data.labels import join_labels, read_labels
from supercm_ray.errors import StudyError


def list_by_table(root: Path, table: str, file_key: str | None, label_key: str | None) -> Listing:
    """Lists the images that a table names, in its order, then all other images below the folder, unlabeled.

    Args:
        root: the folder of the images.
        table: the path of the table, relative to the folder.
        file_key: the column of file names: paths below the folder, or names, with or without suffix, that one image
            alone has. None: the first column.
        label_key: the column of labels. None: the second column.

    Raises:
        StudyError: for a name of no image or of several, and for an image with two labels.
    """
    with open_arrays(root / table) as opened:
        keys = [key if key is not None else _column(opened, i, table) for i, key in enumerate((file_key, label_key))]
        for key in keys:
            check_key(key, opened, table)
        names = _file_names(opened, keys[0])
        labels = read_labels(opened.read(keys[1]), len(names), 0, f"`{keys[1]}` in {table}")
    numbers, classes, _ = join_labels([labels], 0, table)
    images, notes = list_images(root)
    found = _find_all(names, images, root, table)
    labeled: dict[Path, str | None] = {}
    for path, name, label in zip(found, names, numbers.tolist(), strict=True):
        chosen = None if label < 0 else classes[label]
        if labeled.setdefault(path, chosen) != chosen:
            raise StudyError(f"every image must have one label in {table}, got several for {name!r}; leave one row")
    others = [path for path in images if path not in labeled]
    of_files = (*labeled.values(), *(None for _ in others))
    used = tuple(name for name in classes if name in set(of_files))  # numbers are names here, and may leave gaps
    because = "" if any(of_files) else f"no image has a label in {table}"
    files = (*labeled, *others)
    parts: tuple[Part, ...] = tuple("train" for _ in files)
    return Listing(files, of_files, parts, used, because, notes + labels.notes)


def _file_names(opened: ArrayFile, key: str) -> list[str]:
    """Returns names of files; those of a csv file as they are written, such as 0001."""
    if opened.raw_texts is not None:
        return [text.strip() for text in opened.raw_texts(key)]
    return [str(value) for value in np.asarray(opened.read(key)).tolist()]


def _column(opened: ArrayFile, place: int, table: str) -> str:
    if len(opened.names) <= place:
        raise StudyError(
            f"a table of labels must have a column of file names and one of labels for {table}, got "
            f"{len(opened.names)} columns; add what is missing, with commas between"
        )
    return opened.names[place]


def _find_all(names: Sequence[str], images: Sequence[Path], root: Path, table: str) -> list[Path]:
    """Returns the image that each name means: by its path below the folder, its name, or its name without suffix."""
    indices: list[dict[str, list[Path]]] = [defaultdict(list) for _ in range(3)]
    for path in images:
        for index, key in zip(indices, (path.relative_to(root).as_posix(), path.name, path.stem), strict=True):
            index[key].append(path)
    found, broken = [], []
    for name in names:
        plain = name.removeprefix("./")
        matches = next((index[plain] for index in indices if plain in index), [])
        found += matches[:1]
        if len(matches) != 1:
            broken.append(f"{name!r}, which {'no image has' if not matches else f'{len(matches)} images have'}")
    if broken:
        raise StudyError(
            f"every file in {table} must be one image below {root}, got {broken[0]}, and {len(broken)} such names; "
            "write paths relative to the folder, or leave out these rows"
        )
    return found
