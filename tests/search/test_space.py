"""From study files to Optuna: every study file of the project loads and samples."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml

from supercm_ray.config import DataConfig, OptionsModel, Sampler, load_study
from supercm_ray.data import Dataset, DeviceData, join_domains, load_dataset, split_dataset
from supercm_ray.search import SAMPLERS, build_sampler, to_optuna
from supercm_ray.training import TrainState, fit, train_epoch

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
AT_ONCE = [path for path in FILES if load_study(path).base.algorithm.closed_form]
TRAINED = [path for path in FILES if path not in AT_ONCE]


def sample(sampler: optuna.samplers.BaseSampler, space: dict, num: int) -> list[dict]:
    """The first settings that a sampler proposes, each with an outcome of its own."""
    study = optuna.create_study(sampler=sampler)
    settings = []
    for i in range(num):
        trial = study.ask(space)
        study.tell(trial, float((i * 7) % 5))
        settings.append(trial.params)
    return settings


def test_there_are_study_files() -> None:
    assert "digits.yaml" in [path.name for path in FILES]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.name)
def test_a_study_file_says_over_which_rows_the_mean_goes(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["base"]["algorithm"]["loss_reduction"] in (
        "own_samples",
        "all_samples",
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_study_file_loads_and_samples_valid_configurations(path: Path) -> None:
    study = load_study(path)
    settings = sample(optuna.samplers.RandomSampler(seed=0), to_optuna(study), 20)
    assert all(set(each) == set(study.space) for each in settings)
    if study.space:
        assert len({tuple(each.values()) for each in settings}) > 1
    for each in [{}, *settings, *study.enqueued_trials]:
        config = study.base.replace({**each, **study.baseline})
        leaves = config.leaves()
        assert all(leaves[name] == value for name, value in {**each, **study.baseline}.items())


SHAPES = {
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "usps": (1, 16, 16),
    "svhn": (3, 32, 32),
    "cifar10": (3, 32, 32),
    "image_folder": (3, 64, 64),
    "arrays": (1024, 1, 1),
}


def stand_in(data: DataConfig) -> Dataset:
    """The data themselves where they need no files, else noise of their shape, with as many rows as the labels take."""
    if data.name not in SHAPES:
        return load_dataset(data)
    if data.target is not None:
        source = data.model_copy(update={"target": None, "labels_per_class": 10})
        return join_domains(stand_in(source), stand_in(source.model_copy(update={"name": data.target.name})))
    per_class = (data.labels_per_class or 10) + (data.num_val or 0) // 10 + 20
    labels = np.repeat(np.arange(10), per_class + 2)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *SHAPES[data.name])).astype(np.uint8)
    channels = SHAPES[data.name][0]
    test_indices = np.flatnonzero(np.arange(len(labels)) % (per_class + 2) < 2)
    return Dataset(
        data.name, images, labels, tuple("0123456789"), (0.5,) * channels, (0.5,) * channels, "", test_indices
    )


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.name)
def test_a_study_file_trains_two_steps(path: Path) -> None:
    check_two_steps(path, [])


@pytest.mark.parametrize("path", AT_ONCE, ids=lambda path: path.name)
def test_a_study_file_is_fitted_at_once(path: Path) -> None:
    study = load_study(path)
    dataset = load_dataset(study.base.data)
    splits = split_dataset(dataset, study.base)
    state = TrainState.create(study.base, dataset, torch.device("cpu"), len(splits.unlabeled))
    (metrics,) = fit(state, DeviceData.of(dataset, splits, torch.device("cpu")))
    assert metrics["val/accuracy"] > 0.8


RECIPES = [path for path in FILES if path.stem.startswith("office31") or path.stem == "cifar10_fixmatch"]


@pytest.mark.parametrize("num", [25, 400])
def test_fixmatch_trains_with_each_published_number_of_labels(num: int) -> None:
    (path,) = [path for path in FILES if path.stem == "cifar10_fixmatch"]
    check_two_steps(path, [f"data.labels_per_class={num}"])


def check_two_steps(path: Path, overrides: list[str]) -> None:
    """A published recipe keeps its optimizer, schedule and augmentation, but not the size of network and batches."""
    overrides = [*overrides, "training.steps_per_epoch=2", "training.num_epochs=1"]
    study = load_study(path, [*overrides, "scheduler.options.grace_period=1"])
    if path in RECIPES:
        size = min(16, study.base.training.unlabeled_batch_size)
        batches = ["training.labeled_batch_size=8", f"training.unlabeled_batch_size={size}"]
        small = ["model.name=small_cnn", "model.options.channels=[8, 8]"]
        study = load_study(path, [*overrides, *batches, *small, "scheduler.options.grace_period=1"])
    dataset, cpu = stand_in(study.base.data), torch.device("cpu")
    for each in [{}, *study.enqueued_trials, *sample(optuna.samplers.RandomSampler(seed=0), to_optuna(study), 20)]:
        split_dataset(dataset, study.base.replace(each))
    state = TrainState.create(study.base, dataset, cpu)
    data = DeviceData.of(dataset, split_dataset(dataset, study.base), cpu)
    assert all(np.isfinite(value) for value in train_epoch(state, data).values())
    assert state.step == 2


SPACE = """\
base: {data: {label_ratio: 0.1}}
space:
  algorithm.clustering_weight: {type: float, low: 0.1, high: 10, log: true}
  algorithm.temperature: {type: float, low: 0.5, high: 2.5, step: 0.5}
  training.labeled_batch_size: {type: int, low: 10, high: 50, step: 20}
  training.unlabeled_batch_size: {type: int, low: 1, high: 64, log: true}
  algorithm.centroid_rule: {type: categorical, choices: [ema, running_mean]}
"""


def test_distributions_are_translated_with_all_their_options(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    assert to_optuna(load_study(path)) == {
        "algorithm.clustering_weight": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "algorithm.temperature": optuna.distributions.FloatDistribution(0.5, 2.5, step=0.5),
        "training.labeled_batch_size": optuna.distributions.IntDistribution(10, 50, step=20),
        "training.unlabeled_batch_size": optuna.distributions.IntDistribution(1, 64, log=True),
        "algorithm.centroid_rule": optuna.distributions.CategoricalDistribution(("ema", "running_mean")),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tpe", optuna.samplers.TPESampler),
        ("random", optuna.samplers.RandomSampler),
        ("qmc", optuna.samplers.QMCSampler),
        ("gp", optuna.samplers.GPSampler),
    ],
)
def test_a_sampler_is_the_one_named_and_follows_its_seed(tmp_path: Path, name: str, kind: type) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    space = to_optuna(load_study(path))
    options = {"num_startup_trials": 3} if name in ("tpe", "gp") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        drawn = [sample(build_sampler(Sampler(name=name, seed=seed, options=options)), space, 5) for seed in (1, 1, 2)]
        assert type(build_sampler(Sampler(name=name))) is kind
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_a_resumed_sampler_draws_anew_unless_it_needs_the_same_seed(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    space = to_optuna(load_study(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name in ("random", "tpe", "qmc"):
            first, resumed = (sample(build_sampler(Sampler(name=name), begun), space, 4) for begun in (0, 7))
            assert (first == resumed) == (name == "qmc")


class LatticeOptions(OptionsModel):
    """Options of a sampler that a user adds."""

    low: float = 0.0
    """Least value."""


def test_a_sampler_of_one_s_own_is_named_like_any_other(tmp_path: Path) -> None:
    made = []

    def lattice(options: LatticeOptions, seed: int) -> optuna.samplers.BaseSampler:
        made.append((options.low, seed))
        return optuna.samplers.BruteForceSampler(seed=seed)

    SAMPLERS.register("lattice", options=LatticeOptions)(lattice)
    try:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE + "sampler: {name: lattice, seed: 3, options: {low: 0.5}}\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            assert isinstance(build_sampler(load_study(path).sampler, 2), optuna.samplers.BruteForceSampler)
    finally:
        SAMPLERS.remove("lattice")
    assert made == [(0.5, 5)]
