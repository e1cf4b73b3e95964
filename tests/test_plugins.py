"""Whatever can be added, added by a user: one file for each thing, named in a study file, used by a whole study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supercm_ray.algorithms import ALGORITHMS
from supercm_ray.api import tune
from supercm_ray.config import Registry, load_study
from supercm_ray.data import DATASETS
from supercm_ray.execution.executor import EXECUTORS
from supercm_ray.execution.stopping import SCHEDULERS
from supercm_ray.models import BACKBONES
from supercm_ray.search import SAMPLERS
from supercm_ray.tracking import TRACKERS
from supercm_ray.training.validators import VALIDATORS

PLUGINS = {
    "algorithm": """
from supercm_ray.algorithms import ALGORITHMS

@ALGORITHMS.register("my_algorithm", requires={"unlabeled"})
def my_algorithm(step):
    return {"mine": step.unlabeled_logits.square().mean()}
""",
    "data_set": """
from dataclasses import replace
from supercm_ray.data import DATASETS

@DATASETS.register("my_data")
def my_data(place, options):
    digits = DATASETS.find("digits").make(place, options)
    return replace(digits, name="my_data", class_names=tuple("abcdefghij"))
""",
    "backbone": """
import torch
from pydantic import Field
from supercm_ray.config import OptionsModel
from supercm_ray.models import BACKBONES

class Options(OptionsModel):
    width: int = Field(8, ge=1)

@BACKBONES.register("my_backbone", options=Options)
class MyBackbone(torch.nn.Module):
    def __init__(self, shape, options):
        super().__init__()
        channels, height, width = shape
        self.num_features = options.width
        self.linear = torch.nn.Linear(channels * height * width, options.width)
    def forward(self, images):
        return self.linear(images.flatten(1)).relu()
""",
    "sampler": """
import optuna
from supercm_ray.search import SAMPLERS

@SAMPLERS.register("my_sampler")
def my_sampler(options, seed):
    return optuna.samplers.RandomSampler(seed=seed)
""",
    "stopping_rule": """
from pydantic import Field
from supercm_ray.config import OptionsModel
from supercm_ray.execution.stopping import SCHEDULERS, NoStopping

class Options(OptionsModel):
    last: int = Field(1, ge=1)

@SCHEDULERS.register("my_rule", options=Options)
class OddTrialsStop(NoStopping):
    def __init__(self, study):
        self.last = study.scheduler.options.last
    def decide(self, key, overrides, message):
        return int(key[-1]) % 2 == 1 and message.epoch >= self.last
""",
    "metric": """
from supercm_ray.training.validators import VALIDATORS

@VALIDATORS.register("mine/confidence")
def confidence(outputs, centroids, seen):
    return outputs.assignments.amax(dim=1).mean()
""",
    "tracker": """
from pathlib import Path
from supercm_ray.tracking import TRACKERS
from supercm_ray.tracking.null import NullTracker

@TRACKERS.register("my_tracker")
class MyTracker(NullTracker):
    def __init__(self, study, folder):
        self.path = folder.path / "tracked"
    def sync(self, key):
        with self.path.open("a") as file:
            file.write(key + "\\n")
""",
    "executor": """
from supercm_ray.execution.executor import EXECUTORS
from supercm_ray.execution.in_process import InProcessExecutor

@EXECUTORS.register("my_executor")
class MyExecutor(InProcessExecutor):
    phases = []
    def run_all(self, phase, queue):
        self.phases.append(phase.name)
        super().run_all(phase, queue)
""",
}

STUDY = """
base:
  plugins: [{plugins}]
  data: {{name: my_data, labels_per_class: 2}}
  model: {{name: my_backbone, options: {{width: 6}}}}
  algorithm: {{name: my_algorithm}}
  training: {{num_epochs: 2, steps_per_epoch: 2, labeled_batch_size: 10, unlabeled_batch_size: 10}}
space:
  model.options.width: {{type: int, low: 4, high: 8}}
objective: {{metric: mine/confidence, direction: maximize}}
budget: {{num_trials: 4}}
sampler: {{name: my_sampler}}
scheduler: {{name: my_rule, options: {{last: 1}}}}
tracking: [my_tracker]
num_seeds: 1
"""

REGISTERED: dict[str, Registry] = {
    "my_algorithm": ALGORITHMS,
    "my_data": DATASETS,
    "my_backbone": BACKBONES,
    "my_sampler": SAMPLERS,
    "my_rule": SCHEDULERS,
    "mine/confidence": VALIDATORS,
    "my_tracker": TRACKERS,
    "my_executor": EXECUTORS,
}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The modules, where Python finds them; their names are taken away again."""
    names = [f"my_{name}_of_a_test" for name in PLUGINS]
    for name, source in zip(names, PLUGINS.values(), strict=True):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SUPERCM_TRACKING", raising=False)
    yield ", ".join(names)
    for name, registry in REGISTERED.items():
        registry.remove(name)


def test_a_study_of_plug_ins_alone(tmp_path: Path, plugins: str) -> None:
    (tmp_path / "mine.yaml").write_text(STUDY.format(plugins=plugins))
    study = load_study(tmp_path / "mine.yaml")
    result = tune(study, results=tmp_path / "results", executor="my_executor", plots=False)
    assert EXECUTORS.find("my_executor").make.phases == ["search", "finalists"]
    assert result.counts == {"complete": 2, "pruned": 2}, "every second trial is stopped after an epoch"
    assert {4 <= record.overrides["model.options.width"] <= 8 for record in result.folder.runs()} == {True}
    metrics = result.folder.run("trials/0000").history()[-1]
    assert {"train/mine", "mine/confidence"} <= metrics.keys()
    tracked = (result.folder.path / "tracked").read_text().splitlines()
    assert set(tracked) == {record.key for record in result.folder.runs()}
    assert '"j"' in (result.folder.path / "data.json").read_text(), "class names of the data set"
