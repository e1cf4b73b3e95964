"""Makes a person's own data from scikit-learn's digits: `python make_data.py FOLDER`.

FOLDER/labeled/zero/…      30 images with a label, 3 of each class, in a folder for each class
FOLDER/unlabeled/…         1000 images that nobody labeled, all in one folder
FOLDER/test/zero/…         400 images with a label, for the test alone
FOLDER/new/…               20 images to predict
FOLDER/features.csv        the labeled and unlabeled samples as rows of numbers; `label` is empty where unknown
FOLDER/test.csv, new.csv   the test samples, and those to predict, likewise
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main(folder: Path) -> None:
    """Writes the files."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    labeled = np.concatenate([order[digits.target[order] == k][:3] for k in range(10)])
    rest = order[~np.isin(order, labeled)]
    unlabeled, test, new = rest[:1000], rest[1000:1400], rest[1400:1420]
    names = np.array(CLASSES)[digits.target]
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for part, samples in {"labeled": labeled, "unlabeled": unlabeled, "test": test, "new": new}.items():
        for i in samples:
            place = folder / part / names[i] if part in ("labeled", "test") else folder / part
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[i]).save(place / f"{i:04d}.png")
    table = pd.DataFrame(digits.data, columns=[f"pixel_{i}" for i in range(64)])
    table["label"] = np.where(np.isin(np.arange(len(names)), unlabeled), "", names)
    table.iloc[np.concatenate([labeled, unlabeled])].to_csv(folder / "features.csv", index=False)
    table.iloc[test].to_csv(folder / "test.csv", index=False)
    table.iloc[new].drop(columns="label").to_csv(folder / "new.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
