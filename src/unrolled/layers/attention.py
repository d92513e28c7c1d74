"""Attention: which positions of a memory a query looks at, and what it sees there.

    e(t, s)     = score of the query q<t> and the memory a<s>
    alpha(t, s) = softmax of e(t, s) over the positions s of the memory's true length
    c<t>        = sum over s of alpha(t, s) a<s>                                the context

    additive     v . tanh(W q + U a)      a small network, as in the notes (Bahdanau et al. 2015, arXiv:1409.0473)
    dot          q . a                    q and a of one size (Luong et al. 2015, arXiv:1508.04025)
    general      q . W a
    scaled-dot   (W q) . (U a) / sqrt(A)  (Vaswani et al. 2017, arXiv:1706.03762)

Moving on, as one who listens (after Zhang et al. 2018, arXiv:1807.06736, and Battenberg et al. 2020, arXiv:1910.10288):

    near(t, s)  = (1 - 1/p) near(t, s - 1) + 1/p alpha(t - 1, s - 1)      where it may have come to; what would go further
    e(t, s)    += log(near(t, s) + 10^-30)                                than the last s stays there

By itself it goes p positions a step, and at least one; what it sees pulls it. Before the first step it is at the first s.
No gradient flows to alpha(t - 1, s).

What of the score depends on the memory alone, the keys, is computed once for all queries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrolled.errors import ConfigError, unknown_name
from unrolled.kernels.attend import ANYWHERE
from unrolled.layers.compiled_attending import Asking

__all__ = ["ATTENTIONS", "Attention", "Memory"]

ATTENTIONS = ("additive", "dot", "general", "scaled-dot")


class Memory(NamedTuple):
    """values (B, S, M); keys (B, S, A); inside (B, S): True at the positions of the true length."""

    values: Tensor
    keys: Tensor
    inside: Tensor

    def beginning(self, rows: int) -> Tensor:
        """Where so many rows look before the first step (R, S): at the first position."""
        at = torch.arange(self.values.shape[1], device=self.values.device)
        return (at == 0).to(self.values.dtype).expand(rows, -1)

    def of(self, rows: Tensor | None) -> Memory:
        """The memories of the sentences `rows` (R,); this one itself if they are just its own, in order, or None."""
        if rows is None:
            return self
        if len(rows) == len(self.values) and bool((rows == torch.arange(len(rows), device=rows.device)).all()):
            return self
        return Memory(*(part[rows] for part in self))


class Attention(nn.Module):
    """Attention of queries of `query_size` over memories of `memory_size`; `size` is A, where the kind has a choice. pace:
    p, of attention that moves on; 0: it looks anywhere.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, size: int, *, pace: float = 0.0) -> None:
        super().__init__()
        if kind not in ATTENTIONS:
            raise unknown_name("attention", kind, ATTENTIONS)
        if kind == "dot" and query_size != memory_size:
            raise ConfigError(f"dot attention needs one size, got a query of {query_size} and a memory of {memory_size}")
        if pace and not pace >= 1:
            raise ConfigError(f"the pace of attention that moves on is at least 1 position a step, or 0; got {pace:g}")
        self.kind, self.pace = kind, pace
        keyed = size if kind in ("additive", "scaled-dot") else query_size
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, keyed, bias=kind == "additive")
        self.query = nn.Linear(query_size, size, bias=False) if kind in ("additive", "scaled-dot") else nn.Identity()
        self.score = nn.Linear(size, 1, bias=False) if kind == "additive" else None
        self.scale = 1 / math.sqrt(size) if kind == "scaled-dot" else 1.0

    def remember(self, values: Tensor, lengths: Tensor) -> Memory:
        """values (B, S, M) of true lengths (B,) -> what queries look at."""
        inside = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)
        return Memory(values, self.key(values), inside)

    def asking(self, memory: Memory) -> Asking:
        """How the compiled kernels look at a memory."""
        query = self.query.weight if isinstance(self.query, nn.Linear) else None
        score = None if self.score is None else self.score.weight[0]
        return Asking(memory.keys, memory.values, memory.inside.sum(1), query, score, self.scale, self.pace)

    def forward(self, query: Tensor, memory: Memory, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """query (B, Q) -> context (B, M) and weights (B, S), which are zero outside and sum to 1. before (B, S): where the
        step before looked, which counts for one that moves on.
        """
        context, weights = self.every(query.unsqueeze(0), memory, before if self.pace else None)
        return context[0], weights[0]

    def every(self, queries: Tensor, memory: Memory, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """queries (T, B, Q) -> contexts (T, B, M) and weights (T, B, S); before (B, S): of the only step, moving on."""
        asked = self.query(queries).transpose(0, 1)  # (B, T, A)
        if self.score is not None:
            scores = self.score(torch.tanh(memory.keys.unsqueeze(1) + asked.unsqueeze(2))).squeeze(3)
        else:
            scores = torch.bmm(asked, memory.keys.transpose(1, 2)) * self.scale
        if before is not None:
            at = torch.arange(before.shape[1], device=before.device)
            further = (at - at.unsqueeze(1) - 1).to(before.dtype)  # than the next position, from each to each
            reach = (1 - 1 / self.pace) ** further.clamp_min(0) / self.pace * (further >= 0)
            near = before.detach() @ reach
            last = at == memory.inside.sum(1, keepdim=True) - 1
            near = torch.where(last, self.pace * near + before.detach(), near)  # and all that would go further
            scores = scores + torch.log(near + ANYWHERE).unsqueeze(1)
        weights = scores.masked_fill(~memory.inside.unsqueeze(1), -torch.inf).softmax(2)
        return torch.bmm(weights, memory.values).transpose(0, 1), weights.transpose(0, 1)
