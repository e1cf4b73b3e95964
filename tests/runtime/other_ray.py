"""One small `tune` and one small `train` on two workers with whatever Ray is installed.

`make test-ray` names this file. The other tests cover the same with the pinned Ray, so its name keeps it out of these.
"""

from __future__ import annotations

from studies import Place

from supercm_ray.records import StudyFolder


def test_tune_finishes_all_trials(place: Place) -> None:
    place.tune()
    place.check_whole(num_trials=10, num_finalists=8)


def test_train_on_two_workers_records_each_epoch(place: Place) -> None:
    done = place.run("train", "tiny.yaml", "--workers", "2", "--test")
    assert done.returncode == 0, done.stdout
    (path,) = (place.path / "results" / "train").glob("tiny-*")
    run = StudyFolder.existing(path).run("train/tiny")
    assert [metrics["epoch"] for metrics in run.history()] == [1, 2, 3, 4]
    assert run.record().status == "complete"
    assert 0 < run.record().summary["test/accuracy"] <= 1
