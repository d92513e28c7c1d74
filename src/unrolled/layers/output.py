"""Output layers: activations -> the probability of each of V symbols, and what a training does about a large V.

    full       softmax(W a + b); loss and gradient come from one pass over chunks of rows, so that no (N, V) matrix exists
    adaptive   a short list and clusters of rarer symbols: log P(w) = log P(cluster | a) + log P(w | cluster, a); clusters
               see ever smaller projections of a (Grave et al. 2017, arXiv:1609.04309). Exact everywhere
    sampled    `full`, but the sum over V in the loss of a training is estimated from K symbols drawn for the whole batch,
               each weighed by 1 / (K q(w)), q log-uniform in the rank (Jean et al. 2015, arXiv:1412.2007). Exact otherwise

Ids are in order of frequency, the most frequent first, as `Vocabulary` numbers them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["OUTPUTS", "AdaptiveOutput", "FullOutput", "Output", "SampledOutput", "cross_entropy"]

#: Logits computed at once, and the fewest rows they are computed for.
_LOGITS, _ROWS = 1 << 21, 128


def cross_entropy(a: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sum of -log softmax(a weight^T + bias)[targets]: a (N, D), weight (V, D), bias (V,), targets (N,).

    smoothing: the part of each target that is shared out among all symbols (Szegedy et al. 2016, arXiv:1512.00567).
    """
    return _CrossEntropy.apply(a, weight, bias, targets, smoothing)


def _chunks(n_rows: int, n_symbols: int) -> Iterator[slice]:
    size = max(_ROWS, _LOGITS // n_symbols)
    return (slice(at, min(at + size, n_rows)) for at in range(0, n_rows, size))


class _CrossEntropy(torch.autograd.Function):
    """The gradient of a sum of losses does not wait for backward: softmax - one-hot is at hand with the loss."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        low = torch.is_autocast_enabled(a.device.type)  # products in bfloat16, the rest in the precision of the weights
        kind = torch.get_autocast_dtype(a.device.type) if low else weight.dtype
        with torch.autocast(a.device.type, enabled=False):
            rows, matrix = a.to(kind), weight.to(kind)
            grads = torch.empty_like(a), torch.zeros_like(weight), torch.zeros_like(bias)
            loss = weight.new_zeros(())
            for part in _chunks(len(a), len(weight)):
                logits = (rows[part] @ matrix.t()).to(weight.dtype).add_(bias)
                here = torch.arange(len(logits), device=a.device), targets[part]
                chosen = logits[here]
                total = logits.logsumexp(1)
                loss += (total - (1 - smoothing) * chosen).sum()
                if smoothing:
                    loss -= smoothing * logits.mean(1).sum()
                if wanted:
                    error = logits.sub_(total.unsqueeze(1)).exp_()
                    if smoothing:
                        error.sub_(smoothing / len(weight))
                    error[here] -= 1 - smoothing
                    grads[2].add_(error.sum(0))
                    error = error.to(kind)
                    grads[0][part] = error @ matrix
                    if low:
                        grads[1].add_(error.t() @ rows[part])
                    else:
                        grads[1].addmm_(error.t(), rows[part])
        if wanted:
            ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        return *(saved * grads[0] for saved in ctx.saved_tensors), None, None


class Output(nn.Module, ABC):
    """What a model needs of its output layer. N rows of activations (N, D), targets (N,) in 0..V-1."""

    @abstractmethod
    def loss(self, a: Tensor, targets: Tensor) -> Tensor:
        """The sum of -log P(target), as it is trained on."""

    @abstractmethod
    def forward(self, a: Tensor) -> Tensor:
        """Activations (..., D) -> logits (..., V); exact."""

    def losses(self, a: Tensor, targets: Tensor) -> Tensor:
        """-log P of each target (N,); exact."""
        parts = [
            functional.cross_entropy(self(a[part]), targets[part], reduction="none")
            for part in _chunks(len(a), self.n_symbols)
        ]
        return torch.cat(parts) if parts else a.new_zeros(0)

    n_symbols: int


class FullOutput(Output):
    """W a + b. `weight` (V, D) may be tied to an embedding."""

    def __init__(self, size: int, n_symbols: int) -> None:
        super().__init__()
        self.n_symbols = n_symbols
        self.weight = nn.Parameter(torch.randn(n_symbols, size) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(n_symbols))

    def loss(self, a: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(a, self.weight, self.bias, targets)

    def forward(self, a: Tensor) -> Tensor:
        return functional.linear(a, self.weight, self.bias)


class SampledOutput(FullOutput):
    """Trained on `n_samples` symbols besides the targets; everything else is exact."""

    n_samples = 2048

    def loss(self, a: Tensor, targets: Tensor) -> Tensor:
        if not self.training or self.n_samples >= self.n_symbols:
            return super().loss(a, targets)
        drawn, log_q = self._draw(a)
        own = (a * functional.embedding(targets, self.weight)).sum(1) + self.bias[targets]
        others = functional.linear(a, functional.embedding(drawn, self.weight), self.bias[drawn] - log_q)
        others = others.masked_fill(targets.unsqueeze(1) == drawn, -torch.inf)
        return (torch.cat((own.unsqueeze(1), others), 1).logsumexp(1) - own).sum()

    def _draw(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """K symbols, with replacement, and log(K q) of each; q(rank r) = log((r + 2) / (r + 1)) / log(V + 1)."""
        uniform = torch.rand(self.n_samples, dtype=torch.float64, device=a.device)
        drawn = (torch.exp(uniform * math.log(self.n_symbols + 1)) - 1).long().clamp(max=self.n_symbols - 1)
        q = torch.log((drawn + 2.0) / (drawn + 1.0)) / math.log(self.n_symbols + 1)
        return drawn, torch.log(self.n_samples * q).to(a.dtype)


class AdaptiveOutput(Output):
    """A short list of a 25th of the symbols, a cluster of the next four 25ths and one of the rest, never tied."""

    def __init__(self, size: int, n_symbols: int) -> None:
        super().__init__()
        self.n_symbols = n_symbols
        self.bounds = tuple(sorted({max(1, n_symbols // 25), max(1, n_symbols // 5), n_symbols}))
        clusters = list(zip(self.bounds, self.bounds[1:], strict=False))
        widths = [max(min(size, 16), size // 4 ** (i + 1)) for i in range(len(clusters))]
        self.head = FullOutput(size, self.bounds[0] + len(clusters))
        self.down = nn.ModuleList(nn.Linear(size, width, bias=False) for width in widths)
        pairs = zip(widths, clusters, strict=True)
        self.tails = nn.ModuleList(FullOutput(width, stop - start) for width, (start, stop) in pairs)

    def _clusters(self) -> Iterator[tuple[nn.Module, FullOutput, int, int]]:
        """Projection, output layer, first id and end of each cluster."""
        for down, tail, start, stop in zip(self.down, self.tails, self.bounds, self.bounds[1:], strict=False):
            assert isinstance(tail, FullOutput)
            yield down, tail, start, stop

    def loss(self, a: Tensor, targets: Tensor) -> Tensor:
        short = targets.clone()
        total = a.new_zeros(())
        for i, (down, tail, start, stop) in enumerate(self._clusters()):
            inside = (targets >= start) & (targets < stop)
            short[inside] = self.bounds[0] + i
            total = total + tail.loss(down(a[inside]), targets[inside] - start)
        return total + self.head.loss(a, short)

    def forward(self, a: Tensor) -> Tensor:
        head = self.head(a).log_softmax(-1)
        parts = [head[..., : self.bounds[0]]]
        for i, (down, tail, _, _) in enumerate(self._clusters()):
            parts.append(tail(down(a)).log_softmax(-1) + head[..., self.bounds[0] + i, None])
        return torch.cat(parts, -1)


OUTPUTS: dict[str, type[FullOutput] | type[AdaptiveOutput]] = {
    "full": FullOutput,
    "adaptive": AdaptiveOutput,
    "sampled": SampledOutput,
}
