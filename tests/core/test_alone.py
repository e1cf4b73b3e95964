"""The core in anyone's own loop, where nothing else of this package's needs is installed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

for name in ("ray", "mlflow", "optuna", "pydantic", "sklearn", "yaml"):
    sys.modules[name] = None  # an import of it raises ImportError

import torch
from torch import nn
from supercm_ray.core import ClusteringModule, RunningCentroids, clustering_loss, supervised_loss

torch.set_num_threads(1)
torch.manual_seed(0)
backbone, module, centroids = nn.Linear(8, 4), ClusteringModule(4, 3), RunningCentroids(4, 3)
optimizer = torch.optim.SGD([*backbone.parameters(), *module.parameters()], lr=0.5)
labels = torch.arange(30) % 3
inputs = torch.randn(60, 8) * 0.3
inputs[range(30), labels] += 2.0
losses = []
for _ in range(30):
    features = backbone(inputs)
    logits, _ = module(features)
    centroids.update(features[:30].detach(), labels)
    loss = supervised_loss(logits[:30], labels)
    loss = loss + 0.5 * clustering_loss(features, logits, centroids.value, seen=centroids.seen)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.5 * losses[0], losses
ours = sorted(name for name in sys.modules if name.startswith("supercm_ray."))
assert all(name.startswith("supercm_ray.core") for name in ours), ours
print("trained")
"""


def test_core_trains_without_the_rest_of_the_package() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
