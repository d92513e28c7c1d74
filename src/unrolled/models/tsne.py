"""Vectors laid out in the plane so that near ones stay near: t-SNE (van der Maaten and Hinton 2008), exactly.

Of each vector i, p(j|i) says how near j is (a normal distribution whose width gives every i about as many neighbours), and
q of two points of the plane falls as 1 / (1 + distance^2). The points move so that q becomes like p.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["in_the_plane"]

_STEPS, _EXAGGERATED, _EXAGGERATION = 750, 250, 12.0


def in_the_plane(vectors: Tensor, perplexity: float = 20.0) -> Tensor:
    """Vectors (N, D) -> places (N, 2), between -1 and 1. The same vectors give the same places. N^2 numbers are kept."""
    n = len(vectors)
    if n < 3:
        return torch.linspace(-1, 1, max(n, 1)).unsqueeze(1).expand(-1, 2)[:n].clone()
    centred = vectors.float() - vectors.float().mean(0)
    p = _near(centred, min(perplexity, (n - 1) / 3))
    places, speed, gains = _two_main_directions(centred) * 1e-2, torch.zeros(n, 2), torch.ones(n, 2)
    for step in range(_STEPS):
        wanted = p * _EXAGGERATION if step < _EXAGGERATED else p
        near = 1 / (1 + _squared_distances(places))
        near.fill_diagonal_(0)
        pull = (wanted - near / near.sum()) * near
        slope = 4 * (pull.sum(1, keepdim=True) * places - pull @ places)
        gains = torch.where(slope.sign() != speed.sign(), gains + 0.2, gains * 0.8).clamp_(min=0.01)
        speed = (0.5 if step < _EXAGGERATED else 0.8) * speed - max(n / _EXAGGERATION / 4, 50) * gains * slope
        places = places + speed
        places = places - places.mean(0)
    return places / places.abs().max()


def _squared_distances(x: Tensor) -> Tensor:
    lengths = x.square().sum(1)
    return (lengths.unsqueeze(1) + lengths - 2 * x @ x.T).clamp_(min=0)


def _near(x: Tensor, perplexity: float) -> Tensor:
    """The joint probabilities p (N, N): each row's width is found by halving an interval."""
    distances, wanted = _squared_distances(x), math.log(perplexity)
    distances.fill_diagonal_(torch.inf)
    least = distances.min(1, keepdim=True).values
    low, high, beta = torch.zeros(len(x), 1), torch.full((len(x), 1), torch.inf), torch.ones(len(x), 1)
    for _ in range(60):
        weights = torch.exp(-(distances - least) * beta)
        total = weights.sum(1, keepdim=True)
        entropy = total.log() + beta * (weights * (distances - least).nan_to_num(posinf=0)).sum(1, keepdim=True) / total
        low, high = torch.where(entropy > wanted, beta, low), torch.where(entropy > wanted, high, beta)
        beta = torch.where(high.isinf(), beta * 2, (low + high) / 2)
    p = weights / total
    return ((p + p.T) / (2 * len(x))).clamp_(min=1e-12)


def _two_main_directions(x: Tensor) -> Tensor:
    """Principal components (N, 2), of standard deviation 1; their sign is that of their largest entry."""
    _, axes = torch.linalg.eigh(x.double().T @ x.double())
    found = (x.double() @ axes[:, -2:].flip(1)).float() if x.shape[1] > 1 else torch.cat([x, torch.zeros_like(x)], 1)
    largest = found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
    return found * torch.where(largest == 0, 1, largest) / found.std(0).clamp_(min=1e-12)
