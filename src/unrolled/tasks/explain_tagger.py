"""Why words get their labels: the probability of each label at each word, and what each word adds to the others' labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unrolled.features.tagged_rows import tagged_batch

if TYPE_CHECKING:
    from unrolled.tasks.tagger import TrainedTagger

__all__ = ["explain_words"]

#: Most words, and most labels, that are shown; steps of the integral of the gradients.
_WORDS, _LABELS, _STEPS = 60, 12, 32


def explain_words(trained: TrainedTagger, words: list[str]) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the numbers: probabilities (T, K), contributions (T, T): what word j adds to the
    logit of word i's label, which with `nothing` (T,) is that logit. Of longer texts the first 60 words.
    """
    read = words[:_WORDS]
    p = trained.probabilities([read])
    chosen = p.argmax(1)
    parts, nothing = _contributions(trained, read, chosen)
    names = trained.labels.names
    labels = [names[k] for k in chosen]
    shown = np.argsort(-p.max(0), kind="stable")[:_LABELS]
    bound = float(np.abs(parts).max(initial=1e-6))
    blocks = [
        {
            "kind": "texts",
            "title": "Answer",
            "rows": [[word, f"{label}  {row[k]:.3f}"] for word, label, row, k in zip(read, labels, p, chosen, strict=True)],
        },
        {
            "kind": "heat",
            "title": "The probability of each label at each word",
            "columns": read,
            "rows": [names[k] for k in shown],
            "values": [[round(float(v), 5) for v in p[:, k]] for k in shown],
            "range": [-1.0, 1.0],
        },
        {
            "kind": "heat",
            "title": "What each word (column) adds to the score of each word's label (row)",
            "note": "Red speaks for the label, blue against it. Beside the diagonal: the words around it that decide.",
            "columns": read,
            "rows": [f"{word}: {label}" for word, label in zip(read, labels, strict=True)],
            "values": [[round(float(v), 5) for v in row] for row in parts],
            "range": [-bound, bound],
        },
    ]
    return {
        "tokens": read,
        "labels": labels,
        "outputs": list(names),
        "probabilities": [[float(v) for v in row] for row in p],
        "contributions": [[float(v) for v in row] for row in parts],
        "nothing": [float(v) for v in nothing],
        "cut": len(words) > _WORDS,
        "blocks": blocks,
    }


def _contributions(trained: TrainedTagger, words: list[str], chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) of the logit of each word's label, from words that
    say nothing, zero vectors: (T, T), and the logits of those (T,). Row i of a batch asks for word i's label.
    """
    model, n = trained.model.eval(), len(words)
    batch = tagged_batch(trained.reading.forms.encode([words]), [0]).to(model.device)
    with torch.no_grad():
        x = model.words(batch.rows, batch.letters, batch.sizes)[batch.index[0]]  # (T, D)
        own, lengths = torch.arange(n), torch.full((n,), n)
        labels = torch.from_numpy(chosen)
        nothing = model.read(torch.zeros_like(x).unsqueeze(1), lengths[:1])[own, 0, labels]
    total = torch.zeros(n, n)
    for step in range(_STEPS):
        at = ((step + 0.5) / _STEPS * x).unsqueeze(1).repeat(1, n, 1).requires_grad_(True)
        (gradient,) = torch.autograd.grad(model.read(at, lengths)[own, own, labels].sum(), at)
        total += (gradient * x.unsqueeze(1)).sum(2).t()
    return (total / _STEPS).numpy(), nothing.numpy()
