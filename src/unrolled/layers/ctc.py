"""The loss of connectionist temporal classification: a text is given, where its symbols stand in the frames is not.

    P(y)  = sum over all alignments a that collapse to y of the product of p<t>(a<t>)
    loss  = -log P(y)

An alignment has one symbol or a blank in each frame; it collapses when repetitions become one and then blanks vanish, so
two equal symbols need a blank between them. Graves, Fernandez, Gomez and Schmidhuber 2006. The arithmetic is that of
`kernels.ctc`; rows that are too unlikely even for that, and all that is not on the CPU, are computed by torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from unrolled.errors import ShapeError
from unrolled.kernels.ctc import add_losses
from unrolled.kernels.workspace import Workspace

__all__ = ["ctc_loss", "frames_needed"]

#: Probabilities below which a second thread costs more than it brings.
_WORTH_THREADS = 20_000


def ctc_loss(logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, *, blank: int = 0) -> Tensor:
    """-log P (B,) in nats of each row's label, given logits (T, B, K).

    lengths (B,): frames of each row, 0 to T; labels (N,): of all rows, one behind the other; label_lengths (B,): symbols of
    each row, which may be none. Infinite, with a gradient of zero, where a label does not fit into its frames.
    ShapeError for lengths that do not fit, and for labels that are blank or no symbol.
    """
    steps, rows, n_symbols = logits.shape
    lengths, labels, label_lengths = (t.detach().cpu().long() for t in (lengths, labels, label_lengths))
    if lengths.shape != (rows,) or label_lengths.shape != (rows,) or int(label_lengths.sum()) != len(labels):
        raise ShapeError(
            f"ctc_loss: {rows} rows need as many lengths and label lengths, which add up to the {len(labels)} labels"
        )
    if rows and not (int(lengths.min()) >= 0 and int(lengths.max()) <= steps and int(label_lengths.min()) >= 0):
        raise ShapeError(f"ctc_loss: lengths must lie in 0..{steps}, label lengths not below 0")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < n_symbols and bool((labels != blank).all())):
        raise ShapeError(f"ctc_loss: labels must lie in 0..{n_symbols - 1} and not be the blank, {blank}")
    if logits.device.type != "cpu":
        return _by_torch(logits, lengths, labels, label_lengths, blank)
    return _Loss.apply(logits, lengths, labels, label_lengths, blank)


def frames_needed(label: np.ndarray) -> int:
    """How many frames a label (U,) needs at least: one a symbol, and a blank between two equal ones."""
    return len(label) + int((label[1:] == label[:-1]).sum())


def _by_torch(logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int) -> Tensor:
    """In log space, on any device."""
    row = torch.repeat_interleave(torch.arange(len(lengths)), label_lengths)
    twice = row[1:][(labels[1:] == labels[:-1]) & (row[1:] == row[:-1])]
    fits = lengths >= label_lengths + torch.bincount(twice, minlength=len(lengths))
    given = labels.to(logits.device), lengths, label_lengths
    losses = functional.ctc_loss(functional.log_softmax(logits, 2), *given, blank, reduction="none", zero_infinity=True)
    return losses.masked_fill(~fits.to(logits.device), torch.inf)


class _Loss(torch.autograd.Function):
    """The gradient does not wait for backward: it comes with the loss."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int) -> Tensor:
        logits = logits.detach()
        wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        p = functional.softmax(wide, 2)
        d, losses = p.clone(), np.zeros(len(lengths))
        starts = functional.pad(label_lengths.cumsum(0), (1, 0)).numpy()
        given = p.numpy(), lengths.numpy(), labels.numpy(), starts, blank, losses, d.numpy()
        work = Workspace(np.dtype(np.float64), torch.get_num_threads() if p.numel() > _WORTH_THREADS else 1)
        work.evenly((len(losses), lambda *rows: add_losses(*given, *rows)))
        for b in np.flatnonzero(np.isnan(losses)):
            with torch.enable_grad():
                one = logits[:, b : b + 1].double().requires_grad_()
                label = labels[starts[b] : starts[b + 1]]
                loss = _by_torch(one, lengths[b : b + 1], label, label_lengths[b : b + 1], blank).sum()
            losses[b], d[:, b] = loss.item(), torch.autograd.grad(loss, one)[0][:, 0]
        ctx.save_for_backward(d.to(logits.dtype))
        return torch.from_numpy(losses).to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        (d,) = ctx.saved_tensors
        return d * grad.unsqueeze(1), None, None, None, None
