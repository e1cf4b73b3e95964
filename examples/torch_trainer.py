"""Your own training loop under Ray Train, without SuperCM: `python examples/torch_trainer.py`."""

import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        features = self.body(x)
        return self.head(features)


def train_loop(config):
    rank, num_workers = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    labeled = torch.cat([(y == k).nonzero()[:2, 0] for k in range(10)])  # two labels a class
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(Net(), parallel_strategy_kwargs={"broadcast_buffers": False})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(config["num_epochs"]):
        for _ in range(20):
            batch = labeled[torch.randperm(len(labeled), generator=generator)][rank::num_workers]
            logits = model(x[batch])
            loss = functional.cross_entropy(logits, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x[500:]).argmax(dim=1) == y[500:]).float().mean().item()
        ray.train.report({"epoch": epoch + 1, "accuracy": accuracy})
    return accuracy


if __name__ == "__main__":
    scaling = ScalingConfig(num_workers=2)
    trainer = TorchTrainer(
        train_loop, train_loop_config={"num_epochs": 20}, scaling_config=scaling, run_config=RunConfig()
    )
    print(trainer.fit().return_value)
