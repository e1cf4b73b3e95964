"""The same loop with SuperCM. `diff examples/torch_trainer.py examples/torch_trainer_supercm.py`
shows the difference.
"""

import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from supercm_ray.core import ClusteringModule, RunningCentroids, clustering_loss


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
        self.head = ClusteringModule(32, 10)

    def forward(self, x):
        features = self.body(x)
        return features, self.head(features)[0]


def train_loop(config):
    rank, num_workers = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    labeled = torch.cat([(y == k).nonzero()[:2, 0] for k in range(10)])  # two labels a class
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(Net(), parallel_strategy_kwargs={"broadcast_buffers": False})
    centroids = RunningCentroids(32, 10, rule="ema")  # sums over all workers by itself
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(config["num_epochs"]):
        for _ in range(20):
            batch = labeled[torch.randperm(len(labeled), generator=generator)][rank::num_workers]
            others = torch.randint(500, (40,), generator=generator)[rank::num_workers]  # unlabeled samples
            features, logits = model(torch.cat([x[batch], x[others]]))
            centroids.update(features[: len(batch)], y[batch])
            loss = functional.cross_entropy(logits[: len(batch)], y[batch])
            loss = loss + 1.0 * clustering_loss(features, logits, centroids.value, seen=centroids.seen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x[500:])[1].argmax(dim=1) == y[500:]).float().mean().item()
        ray.train.report({"epoch": epoch + 1, "accuracy": accuracy})
    return accuracy


if __name__ == "__main__":
    scaling = ScalingConfig(num_workers=2)
    trainer = TorchTrainer(
        train_loop, train_loop_config={"num_epochs": 20}, scaling_config=scaling, run_config=RunConfig()
    )
    print(trainer.fit().return_value)
