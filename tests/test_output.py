"""Output layers: the chunked loss is the plain one, adaptive probabilities sum to one, sampling estimates the full loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from unrolled.features.batching import TextBatch
from unrolled.layers import output as module
from unrolled.layers.output import OUTPUTS, AdaptiveOutput, FullOutput, SampledOutput, cross_entropy
from unrolled.models.language_model import LanguageModel, LanguageModelConfig

D = torch.float64


def problem(n: int, v: int, size: int = 5) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(n + v)
    shapes = ((n, size), (v, size), (v,))
    a, weight, bias = (torch.randn(*shape, dtype=D).mul(2).requires_grad_() for shape in shapes)
    return a, weight, bias, torch.randint(v, (n,))


@pytest.mark.parametrize(("n", "v"), [(0, 4), (1, 2), (7, 30), (300, 11)])
@pytest.mark.parametrize("rows", [1, 3, 128])
def test_the_chunked_loss_is_the_plain_one(n: int, v: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    monkeypatch.setattr(module, "_LOGITS", 20)
    a, weight, bias, targets = problem(n, v)
    plain = functional.cross_entropy(a @ weight.t() + bias, targets, reduction="sum")
    found = cross_entropy(a, weight, bias, targets)
    torch.testing.assert_close(found, plain if n else found)
    expected = torch.autograd.grad(3 * plain, (a, weight, bias))
    for ours, theirs in zip(torch.autograd.grad(3 * found, (a, weight, bias)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    frozen = cross_entropy(a.detach(), weight, bias.detach(), targets)
    torch.testing.assert_close(torch.autograd.grad(frozen, weight)[0] * 3, expected[1])


def test_only_a_chunk_of_logits_exists_at_a_time() -> None:
    for n, v in ((2048, 10_000), (2048, 66), (5000, 50_000), (3, 10)):
        sizes = [part.stop - part.start for part in module._chunks(n, v)]
        assert sum(sizes) == n
        assert max(sizes) * v <= max(module._LOGITS, module._ROWS * v)


def test_large_logits_do_not_overflow() -> None:
    a, weight, bias, targets = problem(6, 9)
    found = cross_entropy(a * 1e3, weight * 1e3, bias, targets)
    torch.testing.assert_close(found, functional.cross_entropy(a @ weight.t() * 1e6 + bias, targets, reduction="sum"))


def test_bfloat16_products_come_close() -> None:
    a, weight, bias, targets = (t.detach().float() if t.is_floating_point() else t for t in problem(50, 30))
    tensors = [t.requires_grad_() for t in (a, weight, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        low = cross_entropy(*tensors, targets)
    exact = cross_entropy(*tensors, targets)
    assert low.dtype == torch.float32
    assert low != exact
    for ours, theirs in zip(torch.autograd.grad(low, tensors), torch.autograd.grad(exact, tensors), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.02


@pytest.mark.parametrize("v", [2, 3, 4, 5, 10, 60, 300])
@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_probabilities_sum_to_one_and_agree(kind: str, v: int) -> None:
    torch.manual_seed(1)
    layer = OUTPUTS[kind](8, v).double().eval()
    a, targets = torch.randn(40, 8, dtype=D), torch.randint(v, (40,))
    logs = layer(a).log_softmax(-1)
    assert logs.shape == (40, v)
    if kind == "adaptive":
        torch.testing.assert_close(layer(a).exp().sum(-1), torch.ones(40, dtype=D))
    picked = -logs[torch.arange(40), targets]
    torch.testing.assert_close(layer.losses(a, targets), picked)
    torch.testing.assert_close(layer.loss(a, targets), picked.sum())
    assert layer.losses(a[:0], targets[:0]).shape == (0,)
    assert layer(a.view(4, 10, 8)).shape == (4, 10, v)


def test_clusters_share_out_all_symbols() -> None:
    layer = AdaptiveOutput(128, 50_000)
    assert layer.bounds == (2000, 10_000, 50_000)
    assert [tail.weight.shape for tail in layer.tails] == [(8000, 32), (40_000, 16)]
    a, targets = torch.randn(30, 128), torch.tensor([0, 1999, 2000, 9999, 10_000, 49_999] * 5)
    torch.testing.assert_close(layer.losses(a, targets).sum(), layer.loss(a, targets))


def test_the_sampled_loss_estimates_the_full_one() -> None:
    """Over many draws the estimated partition function, the target's part of it exact, has the mean of the true one."""
    torch.manual_seed(2)
    layer = SampledOutput(6, 200).double()
    layer.n_samples = 40
    a, targets = torch.randn(25, 6, dtype=D), torch.full((25,), 3)
    layer.bias.data[3] = 4  # a target that is likely must not be counted once more when it is drawn
    own = layer(a)[torch.arange(25), targets]
    true = layer(a).logsumexp(1)
    drawn = torch.stack(
        [torch.stack([layer.loss(a[i : i + 1], targets[i : i + 1]) for i in range(25)]) for _ in range(600)]
    )
    estimated = (drawn + own).exp().mean(0).log()
    torch.testing.assert_close(estimated, true, atol=0.06, rtol=0)
    layer.n_samples = 20_000
    torch.testing.assert_close(layer.loss(a, targets), FullOutput.loss(layer, a, targets), atol=0.5, rtol=0)
    layer.eval()
    assert layer.loss(a, targets) == FullOutput.loss(layer, a, targets)


def test_draws_follow_their_probabilities() -> None:
    torch.manual_seed(3)
    layer = SampledOutput(2, 30)
    layer.n_samples = 200_000
    drawn, log_kq = layer._draw(torch.zeros(1, 2))
    share = torch.bincount(drawn, minlength=30) / layer.n_samples
    expected = torch.tensor([math.log((r + 2) / (r + 1)) / math.log(31) for r in range(30)])
    torch.testing.assert_close(share, expected, atol=0.004, rtol=0)
    torch.testing.assert_close(log_kq.exp() / layer.n_samples, expected[drawn], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_every_output_learns(kind: str) -> None:
    torch.manual_seed(4)
    model = LanguageModel(LanguageModelConfig(n_symbols=60, embedding_size=16, hidden_size=24, softmax=kind))
    if isinstance(model.output, SampledOutput):
        model.output.n_samples = 20
    ids = (torch.arange(8).unsqueeze(1) * 7 + torch.arange(21)) % 60  # always the next number
    batch = TextBatch(ids[:, :-1], ids[:, 1:], torch.ones(8, dtype=torch.bool))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        optimiser.zero_grad()
        model.loss(batch).loss.backward()
        optimiser.step()
    losses, _ = model.eval().token_losses(batch)
    assert losses.mean() < 0.1
    torch.testing.assert_close(model.loss(batch).loss, losses.sum())


def test_penalties_are_means_over_what_counts() -> None:
    config: dict[str, Any] = {"n_symbols": 9, "embedding_size": 4, "hidden_size": 6}
    torch.manual_seed(5)
    model = LanguageModel(LanguageModelConfig(**config, penalty_activation=2.0, penalty_change=3.0)).double()
    ids = torch.randint(9, (3, 6))
    batch = TextBatch(ids[:, :-1], ids[:, 1:], torch.ones(3, dtype=torch.bool), torch.tensor([5, 1, 3]))
    a, _ = model.hidden(batch.inputs, None)  # no dropout is set
    rows = [a[:n, i] for i, n in enumerate((5, 1, 3))]
    large = torch.cat(rows).square().mean()
    change = torch.cat([(row[1:] - row[:-1]) for row in rows]).square().mean()
    found = model.loss(batch)
    torch.testing.assert_close(found.penalty, 2 * large + 3 * change)
    torch.testing.assert_close(found.loss, LanguageModel.loss(model.eval(), batch).loss)
    assert model.loss(batch).penalty is None
