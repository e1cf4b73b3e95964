"""Going on from the last checkpoint of a finished run, as a run of its own."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, fields

import numpy as np

from supercm_ray.config import FREE_TO_CHANGE, Config, Leaf, Study
from supercm_ray.data import Dataset, Splits, split_dataset
from supercm_ray.errors import StudyError
from supercm_ray.inference import read_card
from supercm_ray.records import BEST, LAST, CheckpointStore
from supercm_ray.training import with_config
from supercm_ray.tuning.found_run import CONTINUED_FROM, FoundRun

logger = logging.getLogger(__name__)

_FIXED_TRAINING = ("training.steps_per_epoch", "training.optimizer.")
_SHOWN = 3


@dataclass(frozen=True)
class Continuation:
    """A study that goes on from a finished run."""

    former: FoundRun

    def identity(self, study: Study) -> str:
        """Returns a hash of everything that results depend on: the study, and the run that it goes on from."""
        text = f"{study.identity()} {self.former.folder.study_id} {self.former.record.key}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def labels(self) -> dict[str, Leaf | list[Leaf]]:
        """The labels of the new run's record."""
        return {CONTINUED_FROM: self.former.name, "test_was_read_before": self._has_read_test}

    def check_config(self, study: Study) -> None:
        """Checks that the study can go on from the run, as far as that needs no data.

        Raises:
            StudyError: if the study has other data, another model, algorithm or optimizer, or not more epochs.
        """
        _check_same(self.former, study.base)
        done, wanted = self.former.run.num_epochs(), study.base.training.num_epochs
        if wanted <= done:
            raise StudyError(
                f"`training.num_epochs` must be above the {done} epochs of {self.former.name} to continue it, got "
                f"{wanted}; raise it"
            )

    def check_splits(self, study: Study, dataset: Dataset) -> None:
        """Checks that the study has the run's splits, and warns if that run has read the test split.

        Raises:
            StudyError: if the splits are others.
        """
        if not _equal(Splits.load(self.former.run.splits), split_dataset(dataset, study.base)):
            raise StudyError(
                f"the data must be those that {self.former.name} was trained on, got other splits of "
                f"{dataset.name}; put the former files back, or train anew without --continue"
            )
        if self._has_read_test:
            logger.warning(
                "%s has read the test split: choose how to continue by validation metrics, not by those of the test",
                self.former.name,
            )

    def write_checkpoints(self, storage: str, config: Config) -> None:
        """Copies the former run's checkpoints to a new run's storage, under its configuration, unless it has some.

        Raises:
            CheckpointError: for a checkpoint that cannot be read.
            StorageError: if there is no checkpoint, or it cannot be written.
        """
        former, store = CheckpointStore(self.former.storage), CheckpointStore(storage)
        if store.read(LAST) is not None:
            return
        for name in (BEST, LAST):  # the last one is written last, since it says that both are there
            content = former.read(name)
            if content is not None:
                store.write(with_config(content, f"{former.place}/{name}", config), name)
            elif name == LAST:
                raise StudyError(
                    f"the last checkpoint of {self.former.name} must be readable, got nothing in {former.place}; train "
                    "anew without --continue"
                )
        store.close()

    @property
    def _has_read_test(self) -> bool:
        before = self.former.record.labels.get("test_was_read_before", False)
        return bool(before) or any(name.startswith("test/") for name in self.former.record.summary)


def _check_same(former: FoundRun, config: Config) -> None:
    there, here = read_card(former.run.card).config.leaves(), config.leaves()
    differing = [path for path in sorted({*there, *here}) if there.get(path) != here.get(path) and not _is_free(path)]
    if differing:
        got = ", ".join(f"{path}={here.get(path)} for {there.get(path)}" for path in differing[:_SHOWN])
        wanted = " ".join(f"{path}={there[path]}" for path in differing[:_SHOWN] if path in there)
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise StudyError(
            f"data, model, algorithm, seed, optimizer and training.steps_per_epoch must be those of {former.name} to "
            f"continue it, got {got}{more}; give {wanted or 'those alone'}, or train anew without --continue"
        )


def _is_free(path: str) -> bool:
    return path in FREE_TO_CHANGE or (path.startswith("training.") and not path.startswith(_FIXED_TRAINING))


def _equal(one: Splits, other: Splits) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Splits))
