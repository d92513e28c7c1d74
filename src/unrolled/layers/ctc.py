"""The loss of connectionist temporal classification: a text is given, where its symbols stand in the frames is not.

    P(y)  = sum over all alignments a that collapse to y of the product of p<t>(a<t>)
    loss  = -log P(y)

An alignment has one symbol or a blank in each frame; it collapses when repetitions become one and then blanks vanish, so
two equal symbols need a blank between them. Graves, Fernandez, Gomez and Schmidhuber 2006. The arithmetic is that of
`kernels.ctc`. Rows that are too unlikely even for double precision, and all tensors that are not on the CPU, are computed
in log space by torch.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.errors import ShapeError
from unrolled.kernels.ctc import add_losses
from unrolled.kernels.workspace import Workspace

__all__ = ["ctc_loss", "frames_needed"]

#: What lengths and labels may be given as; `Any` stands for rows of a table.
_Integers = Tensor | np.ndarray | Sequence[Any] | int

#: Probabilities below which a second thread costs more than it brings.
_WORTH_THREADS = 20_000
#: The least probability that single precision keeps all digits of is 1.2e-38. Below this, double precision computes.
_LEAST_SINGLE = 1e-37


def ctc_loss(logits: Tensor, lengths: _Integers, labels: _Integers, label_lengths: _Integers, *, blank: int = 0) -> Tensor:
    """Return -log P (B,) in nats of each row's label.

    Args:
        logits: (T, B, V), or (T, V) for one row, whose loss has no axis. Log-probabilities are logits, too.
        lengths: (B,) frames of each row, 0 to T.
        labels: (N,) of all rows, one behind the other, or (B, S), a row each, of which the first `label_lengths` count.
        label_lengths: (B,) symbols of each row, 0 or more.
        blank: the symbol of no label, in 0..V-1.

    Lengths and labels are tensors, arrays or sequences of integers. The loss is infinite, with a gradient of zero, where
    P is 0: where the label does not fit into its frames, or needs a symbol whose logit is -inf. It is NaN where a logit
    within the row's length is NaN. The gradient cannot be differentiated again: RuntimeError.

    Raises:
        ShapeError: axes do not fit, or a length, a label or the blank is out of range, or a label is the blank.
        TypeError: logits are not floating-point, or lengths or labels are not integers.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"ctc_loss: got logits of {kind}, expected a floating-point tensor. Fix: logits.float()")
    if logits.dim() not in (2, 3):
        raise ShapeError(f"ctc_loss: got logits of shape {tuple(logits.shape)}, expected (T, B, V) or (T, V)")
    n_frames, n_targets, symbols = (
        _integers(value, name)
        for value, name in ((lengths, "lengths"), (label_lengths, "label_lengths"), (labels, "labels"))
    )
    blank = int(operator.index(blank))
    if logits.dim() == 2:
        if symbols.dim() == 1:
            symbols = symbols.unsqueeze(0)
        return _Loss.apply(logits.unsqueeze(1), n_frames.reshape(-1), symbols, n_targets.reshape(-1), blank)[0].squeeze(0)
    return _Loss.apply(logits, n_frames, symbols, n_targets, blank)[0]


def frames_needed(label: np.ndarray) -> int:
    """Return the least number of frames of a label (U,): one a symbol, and a blank between two equal ones."""
    return len(label) + int((label[1:] == label[:-1]).sum())


def _probabilities(logits: Tensor) -> Tensor:
    """Return the probabilities (T, B, V) of logits, in double precision if single precision would round one to 0."""
    wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    p = functional.softmax(wide, 2)
    if p.dtype == torch.float32 and p.numel() and float(p.amin()) < _LEAST_SINGLE:
        p = functional.softmax(logits.double(), 2)
    return p


def _in_log_space(
    logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Compute losses (B,) and their gradients (T, B, V) by torch, which takes logarithms: slower, for any probability.

    As `ctc_loss` says; labels (N,) one behind the other; nothing is checked.
    """
    with torch.enable_grad():
        logs = functional.log_softmax(logits.detach(), 2).requires_grad_()
        losses = functional.ctc_loss(logs, labels.to(logs.device), lengths, label_lengths, blank, reduction="none")
        (d,) = torch.autograd.grad(losses.sum(), logs)
    # torch takes -inf from -inf where a symbol is impossible, or the whole label: NaN instead of 0
    impossible = losses.detach().isinf().unsqueeze(1)
    d = d.masked_fill_((logs.detach() == -torch.inf) | impossible, 0)
    return losses.detach(), d


def _integers(value: _Integers, name: str) -> Tensor:
    """Return integers of any kind as int64 on the CPU."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"ctc_loss: got {name} of {value.dtype}, expected integers. Fix: {name}.long()")
        return value.detach().to("cpu", torch.int64)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"ctc_loss: {name} must be a table or a list: {error}. Fix: fill up short rows") from None
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ctc_loss: got {name} of {array.dtype}, expected integers")
    return torch.from_numpy(array.astype(np.int64))


def _checked(
    logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return lengths (B,), labels (N,) one behind the other, and their lengths (B,). ShapeError for what does not fit."""
    n_steps, n_rows, n_symbols = logits.shape
    if not 0 <= blank < n_symbols:
        raise ShapeError(f"ctc_loss: blank must be in label range, 0..{n_symbols - 1}, got {blank}")
    n_labels = labels.shape[-1] if labels.dim() else 0
    for name, sizes, most in (("lengths", lengths, n_steps), ("label lengths", label_lengths, n_labels)):
        if sizes.shape != (n_rows,):
            raise ShapeError(f"ctc_loss: {n_rows} rows need as many {name}, ({n_rows},), got shape {tuple(sizes.shape)}")
        if n_rows and not 0 <= int(sizes.min()) <= int(sizes.max()) <= most:
            at = int(((sizes < 0) | (sizes > most)).nonzero()[0])
            raise ShapeError(f"ctc_loss: {name} must lie in 0..{most}, got {int(sizes[at])} for row {at}")
    if labels.dim() == 2 and len(labels) == n_rows:
        labels = labels[torch.arange(labels.shape[1]) < label_lengths.unsqueeze(1)]
    elif labels.dim() != 1 or int(label_lengths.sum()) != len(labels):
        raise ShapeError(
            f"ctc_loss: label lengths must add up to the {labels.numel()} labels, or labels be a table ({n_rows}, S); "
            f"got a sum of {int(label_lengths.sum())} and shape {tuple(labels.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_symbols:
        raise ShapeError(f"ctc_loss: labels must lie in 0..{n_symbols - 1}, got {int(labels.min())}..{int(labels.max())}")
    if bool((labels == blank).any()):
        raise ShapeError(f"ctc_loss: labels must not be the blank, {blank}")
    return lengths.contiguous(), labels.contiguous(), label_lengths


def _losses_and_gradients(
    logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Compute losses (B,) and the gradient (T, B, V) of each with respect to its row's logits, in their kind of number."""
    lengths, labels, label_lengths = _checked(logits, lengths, labels, label_lengths, blank)
    if logits.device.type != "cpu":
        wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        losses, d = _in_log_space(wide, lengths, labels, label_lengths, blank)
        return losses.to(logits.dtype), d.to(logits.dtype)
    p = _probabilities(logits)
    d, found = p.clone(), np.zeros(len(lengths))
    starts = functional.pad(label_lengths.cumsum(0), (1, 0)).numpy()
    arrays = p.numpy(), lengths.numpy(), labels.numpy(), starts, blank, found, d.numpy()
    work = Workspace(np.dtype(np.float64), torch.get_num_threads() if p.numel() > _WORTH_THREADS else 1)
    work.evenly((len(found), lambda *rows: add_losses(*arrays, *rows)))
    losses = torch.from_numpy(found)
    rest = losses.isnan()
    if bool(rest.any()):
        of_rest = rest[torch.repeat_interleave(torch.arange(len(rest)), label_lengths)]
        parts = lengths[rest], labels[of_rest], label_lengths[rest]
        losses[rest], gradient = _in_log_space(logits[:, rest].double(), *parts, blank)
        d[:, rest] = gradient.to(d.dtype)
    return losses.to(logits.dtype), d.to(logits.dtype)


class _Loss(torch.autograd.Function):
    """Losses, and their gradient, which does not wait for backward.

    The gradient is an output that nobody sees: so it counts as a function of the logits, and not as a constant, when
    what backward returns is differentiated.
    """

    @staticmethod
    def forward(
        logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank: int
    ) -> tuple[Tensor, Tensor]:
        return _losses_and_gradients(logits.detach(), lengths, labels, label_lengths, blank)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG004
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, second: Tensor | None) -> Any:  # type: ignore[override]
        if second is not None:
            raise RuntimeError(
                "ctc_loss: the derivative of its gradient is not implemented, as in torch. Fix: leave out create_graph=True"
            )
        (d,) = ctx.saved_tensors
        return None if grad is None else d * grad.unsqueeze(1), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """The axis of n is one more axis of rows."""
        n, blank = info.batch_size, args[-1]
        logits, *sizes = (
            x.expand(n, *x.shape) if at is None else x.movedim(at, 0) for x, at in zip(args[:4], in_dims, strict=False)
        )
        lengths, labels, label_lengths = sizes
        if labels.dim() == 2 and not bool((label_lengths.sum(1) == labels.shape[1]).all()):
            raise ShapeError(f"ctc_loss: label lengths of each example must add up to its {labels.shape[1]} labels")
        n_rows = logits.shape[2]
        losses, d = _Loss.apply(
            logits.transpose(0, 1).flatten(1, 2), lengths.flatten(), labels.flatten(0, 1), label_lengths.flatten(), blank
        )
        return (losses.view(n, n_rows), d.unflatten(1, (n, n_rows))), (0, 1)
