"""The study file as resolved, in the study's folder, with a digest by which a shortened or altered one is noticed."""

from __future__ import annotations

from pathlib import Path

import yaml

from supercm_ray.config import Study, load_study
from supercm_ray.records.digests import digest_of
from supercm_ray.records.files import damaged, read_text, reading, write_atomically

NAME = "study.yaml"
_FIRST_LINE = "# digest of the lines below: "
_REMEDY = "give the command that began the study again, which writes it anew"


def write_study(folder: Path, study: Study) -> None:
    """Replaces the study file in a folder.

    Raises:
        StorageError: if it cannot be written.
    """
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / NAME, f"{_FIRST_LINE}{digest_of(text)}\n{text}")


def read_study(folder: Path) -> Study:
    """Reads the study file in a folder.

    Raises:
        StorageError: if it cannot be read.
        StudyError: if there is none, it is not as it was written, or it breaks a rule of this version.
    """
    path = folder / NAME
    text = read_text(path)
    if not text:
        raise damaged(path, "an empty file" if path.exists() else "no such file", _REMEDY)
    first, _, rest = text.partition("\n")
    if first.startswith(_FIRST_LINE) and first.removeprefix(_FIRST_LINE) != digest_of(rest):
        raise damaged(path, "other lines than its digest was made from", _REMEDY)
    with reading(path, _REMEDY):
        return load_study(path)
