"""The clustering module and its loss, against the published four terms and a slow loop.

Shapes: B samples, D features, K classes.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from supercm_ray.core import ClusteringModule, balance_prior, clustering_loss
from supercm_ray.core import distributed as workers


def four_terms(x: Tensor, g: Tensor, mu: Tensor, alpha: float = 1.0) -> Tensor:
    """E1 + E2 + E3 + E4 as Boubekki et al. write them."""
    gram = mu @ mu.T
    e1 = (x - g @ mu).square().sum()
    e2 = (g * (1 - g) * mu.square().sum(dim=1)).sum()
    e3 = -((g @ (gram - gram.diagonal().diag())) * g).sum()
    e4 = ((1 - alpha) * g.mean(dim=0).log()).sum()
    return (e1 + e2 + e3) / x.numel() + e4


def slow_loss(x: Tensor, g: Tensor, mu: Tensor, alpha: list[float]) -> float:
    """The distortion and E4 with nothing but numbers."""
    indices, dim = x.shape
    total = 0.0
    for i in range(indices):
        for k in range(len(mu)):
            for d in range(dim):
                total += g[i, k].item() * (x[i, d].item() - mu[k, d].item()) ** 2
    prior = sum(
        (1 - alpha[k]) * math.log(sum(g[i, k].item() for i in range(indices)) / indices) for k in range(len(mu))
    )
    return total / (indices * dim) + prior


def problem(
    indices: int, dim: int, classes: int, *, seed: int = 0, offset: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, D), logits (B, K) and centroids (K, D) in float64."""
    generator = torch.Generator().manual_seed(seed)
    x, logits, mu = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((indices, dim), (indices, classes), (classes, dim))
    )
    return x + offset, logits, mu + offset


SHAPES = [(7, 5, 4), (1, 3, 2), (2, 1, 2), (1, 1, 9)]


@pytest.mark.parametrize("alpha", [1.0, 1.7, 0.4])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_four_terms_and_their_gradients(shape: tuple[int, int, int], alpha: float) -> None:
    x, logits, mu = (tensor.requires_grad_() for tensor in problem(*shape))
    ours = clustering_loss(x, logits, mu, balance_alpha=alpha)
    theirs = four_terms(x, logits.softmax(dim=1), mu, alpha)
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(theirs, (x, logits, mu))
    assert_close(torch.autograd.grad(ours, (x, logits, mu)), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_a_slow_loop(shape: tuple[int, int, int]) -> None:
    x, logits, mu = problem(*shape)
    g = logits.softmax(dim=1)
    alpha = [1.0 + 0.25 * k for k in range(shape[2])]
    assert clustering_loss(x, logits, mu).item() == pytest.approx(slow_loss(x, g, mu, [1.0] * shape[2]), rel=1e-12)
    with_prior = clustering_loss(x, logits, mu, balance_alpha=torch.tensor(alpha))
    assert with_prior.item() == pytest.approx(slow_loss(x, g, mu, alpha), rel=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 2.5])
@pytest.mark.parametrize("seen", [None, [True, False, True]])
def test_gradients_to_features_and_logits(seen: list[bool] | None, alpha: float) -> None:
    x, logits, mu = problem(4, 3, 3)
    seen_K = None if seen is None else torch.tensor(seen)
    assert torch.autograd.gradcheck(
        lambda x, logits: clustering_loss(x, logits, mu, balance_alpha=alpha, seen=seen_K),
        (x.requires_grad_(), logits.requires_grad_()),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_do_not_cancel(dtype: torch.dtype) -> None:
    x, logits, mu = problem(64, 32, 10, offset=50.0)
    x, logits, mu = (x / 10).to(dtype), logits.to(dtype), (mu / 10).to(dtype)
    exact = four_terms(x.double(), logits.double().softmax(dim=1), mu.double())
    loss = clustering_loss(x, logits, mu)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert four_terms(x, logits.softmax(dim=1), mu).item() != pytest.approx(exact.item(), rel=0.2), (
        "the oracle itself cancels here"
    )


def test_autocast_changes_nothing() -> None:
    x, logits, mu = (tensor.float() for tensor in problem(64, 32, 10, offset=5.0))
    seen = torch.arange(10) > 2
    plain = clustering_loss(x, logits, mu, balance_alpha=1.5, seen=seen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = clustering_loss(x, logits, mu, balance_alpha=1.5, seen=seen)
    assert cast.dtype == torch.float32
    assert_close(cast, plain, rtol=1e-6, atol=0.0)


def test_a_class_never_seen_is_as_if_it_were_not_there() -> None:
    x, logits, mu = problem(6, 3, 4)
    seen = torch.tensor([True, False, True, True])
    logits.requires_grad_()
    loss = clustering_loss(x, logits, mu, seen=seen)
    assert_close(loss, four_terms(x, logits[:, seen].softmax(dim=1), mu[seen]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient[:, 1], torch.zeros(6, dtype=torch.float64))
    assert gradient[:, seen].abs().min() > 1e-6
    moved = mu.clone()
    moved[1] = 1e6
    assert torch.equal(clustering_loss(x, logits, moved, seen=seen), loss)


@pytest.mark.parametrize("gap", [5.0, 20.0, 50.0, 200.0])
def test_a_class_never_seen_gives_no_shelter(gap: float) -> None:
    x, logits, mu = (tensor.float() for tensor in problem(6, 3, 4))
    seen = torch.tensor([True, False, True, True])
    logits[:, 1] += gap
    shares = logits[:, seen].double().softmax(dim=1)
    exact = four_terms(x.double(), shares, mu[seen].double())
    assert clustering_loss(x, logits, mu, seen=seen).item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(("alpha", "sign"), [(1.0, 0), (1.5, -1), (0.5, 1)])
def test_the_balance_prior_counts_unseen_classes(alpha: float, sign: int) -> None:
    x, logits, mu = problem(6, 3, 4)
    logits[:, 1] -= 3.0
    loss = clustering_loss(
        x, logits.requires_grad_(), mu, balance_alpha=alpha, seen=torch.tensor([True, False, True, True])
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:, 1].sign().tolist() == [sign] * 6, "the descent goes the other way"


def test_all_classes_seen_is_the_default() -> None:
    x, logits, mu = problem(6, 3, 4)
    assert_close(clustering_loss(x, logits, mu, seen=torch.ones(4, dtype=torch.bool)), clustering_loss(x, logits, mu))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_without_a_seen_class_the_loss_is_zero_and_gradients_are_finite(size: float, dtype: torch.dtype) -> None:
    x = torch.full((2, 3), size, dtype=dtype, requires_grad=True)
    logits = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = clustering_loss(x, logits, torch.zeros(3, 3), seen=torch.zeros(3, dtype=torch.bool))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("gap", [50.0, 87.5, 90.0, 103.0, 200.0])
def test_a_sample_sure_of_a_class_never_seen_has_finite_gradients(gap: float) -> None:
    x = torch.full((2, 3), 30.0, requires_grad=True)
    logits = torch.tensor([[gap, 0.0, 0.0], [0.0, 0.0, 1.0]], requires_grad=True)
    mu = torch.tensor([[0.0] * 3, [1.0] * 3, [2.0] * 3])
    loss = clustering_loss(x, logits, mu, seen=torch.tensor([False, True, True]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert x.grad.isfinite().all()
    assert logits.grad.isfinite().all()


def test_the_balance_prior_by_hand() -> None:
    logits = torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.float64).log() + torch.tensor([[5.0], [-3.0]])
    one, other = math.log(0.4), math.log(0.6)
    assert balance_prior(logits, 3.0).item() == pytest.approx(-2 * (one + other))
    assert balance_prior(logits, torch.tensor([3.0, 0.5])).item() == pytest.approx(-2 * one + 0.5 * other)
    assert balance_prior(logits, 1.0).item() == 0.0


def test_an_alpha_above_one_favours_balanced_clusters() -> None:
    even, uneven = torch.zeros(2, 2), torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    assert balance_prior(even, 2.0) < balance_prior(uneven, 2.0)
    assert balance_prior(even, 0.5) > balance_prior(uneven, 0.5)


@pytest.mark.parametrize("alpha", [1.5, torch.tensor([1.5, 1.5, 0.5])], ids=["number", "tensor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_empty_class_keeps_value_and_gradient(dtype: torch.dtype, alpha: float | Tensor) -> None:
    """Both in closed form: the gradient is that of log means, (1 - alpha_k) (r_ik - g_ik sum over l), with r_ik sample
    i's part of the mean of class k.
    """
    logits = torch.tensor([[0.0, 1.0, -500.0], [1.0, 0.0, -500.5]], dtype=dtype, requires_grad=True)
    assert logits.softmax(dim=1)[:, 2].tolist() == [0.0, 0.0]
    loss = clustering_loss(torch.ones(2, 3, dtype=dtype), logits, torch.ones(3, 3), balance_alpha=alpha)
    assert loss.item() == balance_prior(logits, alpha).item()
    loss.backward()
    exact = logits.detach().double()
    each = exact - exact.logsumexp(dim=1, keepdim=True)
    factor = (1 - torch.as_tensor(alpha).double()).expand(3)
    assert loss.item() == pytest.approx((factor * (each.logsumexp(dim=0) - math.log(2))).sum().item(), rel=1e-5)
    part = factor * each.softmax(dim=0)
    wanted = part - each.exp() * part.sum(dim=1, keepdim=True)
    assert wanted[:, 2].abs().min() > 0.1
    assert_close(logits.grad, wanted.to(dtype), rtol=0.01 if dtype != torch.float32 else 1e-5, atol=1e-4)


def test_the_balance_prior_brings_an_empty_class_back() -> None:
    logits = torch.zeros(8, 3)
    logits[:, 2] = -300.0
    logits.requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=10.0)
    for _ in range(400):
        optimizer.zero_grad()
        balance_prior(logits, 2.0).backward()
        optimizer.step()
    assert_close(logits.softmax(dim=1).mean(dim=0), torch.full((3,), 1 / 3), rtol=0.05, atol=0.0)


def test_two_workers_share_an_empty_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other worker's samples arrive through the sum, in which each worker fills a row of its own."""
    logits = torch.tensor([[0.0, 1.0, -500.0], [1.0, 0.0, -400.0], [0.0, 0.0, -450.0], [3.0, 0.0, -399.0]])
    whole = logits.clone().requires_grad_()
    balance_prior(whole, 1.5).backward()
    own, other = logits[:2].clone().requires_grad_(), logits[2:]
    theirs = other.log_softmax(dim=1).logsumexp(dim=0)
    monkeypatch.setattr(workers, "world_size", lambda: 2)
    monkeypatch.setattr("supercm_ray.core.clustering.world_size", lambda: 2)
    monkeypatch.setattr(workers, "all_reduce_sum", lambda rows: rows + torch.stack([torch.zeros(3), theirs]))
    shared = balance_prior(own, 1.5)
    monkeypatch.undo()
    assert_close(shared, balance_prior(logits, 1.5))
    shared.backward()
    assert_close(own.grad, whole.grad[:2])


def test_the_balance_prior_of_half_precision_logits_is_computed_in_fp32() -> None:
    _, logits, _ = problem(512, 1, 10)
    logits = logits.half()
    exact = (-0.5 * logits.double().softmax(dim=1).mean(dim=0).log()).sum()
    found = balance_prior(logits, 1.5)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("features", "logits", "centroids"),
    [
        ((4, 3), (5, 2), (2, 3)),
        ((4, 3), (4, 2), (3, 3)),
        ((4, 3), (4, 2), (2, 1)),
        ((4, 3), (1, 2), (2, 3)),
        ((3,), (4, 2), (2, 3)),
        ((4, 3), (2,), (2, 3)),
        ((4, 3), (4, 2), (1, 2, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    features: tuple[int, ...], logits: tuple[int, ...], centroids: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape(str((features, logits, centroids)))):
        clustering_loss(torch.zeros(features), torch.zeros(logits), torch.zeros(centroids))


def test_the_module_divides_its_logits_by_the_temperature() -> None:
    torch.manual_seed(0)
    module, x = ClusteringModule(3, 4, temperature=0.5), torch.randn(5, 3)
    logits, assignments = module(x)
    assert_close(logits, (x @ module.head.weight.T + module.head.bias) / 0.5)
    assert_close(assignments, logits.exp() / logits.exp().sum(dim=1, keepdim=True))
    assert "temperature" in module.state_dict()
    assert "temperature" not in dict(module.named_parameters())


def test_the_module_returns_fp32_from_half_precision() -> None:
    torch.manual_seed(0)
    module, x = ClusteringModule(3, 4, temperature=0.1), torch.randn(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, assignments = module(x)
    assert (logits.dtype, assignments.dtype) == (torch.float32, torch.float32)
    assert_close(assignments.sum(dim=1), torch.ones(5), rtol=0.0, atol=1e-6)
    assert_close(logits, module(x)[0], rtol=0.05, atol=0.05)
    double = module.double()(x.double())
    assert {output.dtype for output in double} == {torch.float64}


@pytest.mark.parametrize(
    ("arguments", "temperature", "got"),
    [
        ((3, 4), 0.0, "temperature=0.0"),
        ((3, 4), -1.0, "temperature=-1.0"),
        ((3, 4), math.nan, "temperature=nan"),
        ((0, 4), 1.0, "num_features=0"),
        ((3, 1), 1.0, "num_classes=1"),
    ],
)
def test_the_module_refuses_senseless_arguments(arguments: tuple[int, int], temperature: float, got: str) -> None:
    with pytest.raises(ValueError, match=re.escape(got)):
        ClusteringModule(*arguments, temperature=temperature)
