"""A layer that looks somewhere before each step as one operation of autograd: the twin of `unroll.unroll_attending`.

Forward, step by step: what the last output asks, `look`, and one step of the cell's scan over [x<t>; c<t>].
Backward: the scan's step passes on the gradients of both, `look_back` what memory and question get of it; then the
gradients of the weights, each as one product over all steps.

The rows of a batch are shared out among the threads, each of which goes through all steps on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.cells import Cell, Weights
from unrolled.kernels.attend import add_product, look, look_back
from unrolled.kernels.scan import Arrays, Call, Order, Product, Sink, Source
from unrolled.kernels.workspace import Workspace
from unrolled.layers.compiled import as_array, as_arrays, bias_of, scan_for
from unrolled.types import State, state_like, state_tensors

__all__ = ["Asking", "attending_layer"]

#: Numbers put out in all steps below which a second thread costs more than it brings.
_WORTH_THREADS = 30_000


class Asking(NamedTuple):
    """How a layer looks. query (A, H), or None where its output asks as it is; score (A,) of additive attention, or None;
    scale: what scores are multiplied with; lengths (B,) of the memories.
    """

    query: Tensor | None
    score: Tensor | None
    scale: float
    lengths: Tensor


def attending_layer(
    cell: Cell, x: Tensor, state: State, w: Weights, memory: tuple[Tensor, Tensor], asking: Asking
) -> tuple[Tensor, Tensor, Tensor, State]:
    """x (T, B, D), state (B, H), keys (B, S, A) and values (B, S, M) -> outputs (T, B, H), contexts (T, B, M), weights
    (T, B, S), through which no gradient flows, and the last state. All of one kind of number, on the CPU.
    """
    tensors = (x, *memory, asking.query, asking.score, *w[:4], *state_tensors(state))
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    operation = _Operation(cell, asking.scale, asking.lengths.numpy(), keep)
    outputs, contexts, looked, *final = _Attending.apply(operation, *tensors)
    return outputs, contexts, looked, state_like(state, final)


class _Operation(NamedTuple):
    """What a call is besides its tensors."""

    cell: Cell
    scale: float
    lengths: np.ndarray
    keep: bool


class _Attending(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: _Operation, *tensors: Any) -> tuple[Tensor, ...]:
        loop = _Loop(op, tensors)
        loop.threads().evenly((loop.x.shape[1], loop.forward))
        if op.keep:
            ctx.loop = loop
            ctx.save_for_backward(*tensors)
        made = loop.out, loop.x[:, :, loop.wide :], loop.looked
        results = [torch.from_numpy(part.copy()) for part in made]  # the loop's own may not be changed in place
        ctx.mark_non_differentiable(results[2])
        return *results, *map(torch.from_numpy, loop.final)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # type: ignore[override]
        return None, *ctx.loop.gradients(ctx.saved_tensors, *as_arrays(grads))


class _Rows(NamedTuple):
    """The steps of some rows: what the scan was given at each, and what it kept."""

    first: int
    last: int
    calls: list[Call]
    kept: list[Arrays]


class _Found(NamedTuple):
    """What some rows add to the gradients of the weights, for all steps: d (N, G*H) of the projected inputs, these inputs
    x (N, D + M), the products of the scan, and dv (A,) of the small network's output.
    """

    d: np.ndarray
    x: np.ndarray
    products: list[Product]
    dv: np.ndarray


class _Loop:
    """The arrays of a call: x (T, B, D + M), the contexts behind the inputs; asked (T, B, A), looked (T, B, S) and out
    (T, B, H).
    """

    def __init__(self, op: _Operation, tensors: Sequence[Any]) -> None:
        (x, self.keys, self.values), (query, score) = as_arrays(tensors[:3]), tensors[3:5]
        w, self.op, self.wide, kind = Weights(*tensors[5:9]), op, x.shape[2], x.dtype
        scan = scan_for(op.cell)
        assert scan is not None
        self.work, self.scan = _Packing(kind), scan
        self.start = as_arrays(tensors[9:])
        self.final: Arrays = tuple(s.copy() for s in self.start)
        self.weight, self.bias = as_array(w.weight_ih), bias_of(op.cell, w)
        self.recurrent = as_arrays(op.cell.recurrent_weights(w))
        self.query = None if query is None else as_array(query)
        self.v, self.scale = np.zeros(0, kind) if score is None else as_array(score), kind.type(op.scale)
        self.x = self.work.new(*x.shape[:2], self.wide + self.values.shape[2])
        self.x[:, :, : self.wide] = x
        each = (self.keys.shape[2], self.keys.shape[1], self.start[0].shape[1])
        self.asked, self.looked, self.out = (self.work.new(*x.shape[:2], size) for size in each)
        self.done: list[_Rows] = []

    def threads(self) -> Workspace:
        """As many threads as torch has, if there is enough to do."""
        return Workspace(self.out.dtype, torch.get_num_threads() if self.out.size > _WORTH_THREADS else 1)

    def forward(self, first: int, last: int) -> None:
        """All steps of the rows first to last."""
        rows, of = slice(first, last), np.arange(first, last)
        if first == last:
            return
        order, packed = Order(np.zeros(1, np.int64), np.array([len(of)])), self.work.packed_transposed(self.weight)
        state, calls, kept = tuple(s[rows] for s in self.start), list[Call](), list[Arrays]()
        for t in range(len(self.x)):
            asked = self.asked[t, rows]
            if self.query is None:
                asked[:] = state[0]
            else:
                asked[:] = 0
                add_product(state[0], self.work.packed_transposed(self.query), asked)
            context, weights = np.empty((len(of), self.values.shape[2]), asked.dtype), self.looked[t, rows]
            look(self.keys, self.values, self.op.lengths, of, asked, self.v, self.scale, context, weights)
            self.x[t, rows, self.wide :] = context
            call = Call(order, state, self.recurrent, self.work, self.op.keep)
            source, state = Source(self.x[t, rows], packed, self.bias), tuple(s.copy() for s in state)
            left = self.scan.forward(call, source, self.out[t, rows], state)
            if self.op.keep:
                calls.append(call)
                kept.append(left)
        for end, last_state in zip(self.final, state, strict=True):
            end[rows] = last_state
        if self.op.keep:
            self.done.append(_Rows(first, last, calls, kept))

    def gradients(self, tensors: Sequence[Any], *grads: np.ndarray) -> list[Tensor | None]:
        """Of all tensors, from those of the outputs, the contexts, nothing, and the last state."""
        self.grad_out, self.grad_context = grads[0], grads[1]
        self.grad_state: Arrays = tuple(g.copy() for g in grads[3:])
        self.dx, self.dasked, self.dkeys, self.dvalues = map(np.zeros_like, (self.x, self.asked, self.keys, self.values))
        parts, found = sorted(self.done, key=lambda part: part.first), dict[int, _Found]()  # sums in the same order always
        self.threads().evenly((len(parts), lambda i, j: found.update((k, self.backward(parts[k])) for k in range(i, j))))
        each = [found[k] for k in range(len(parts))]
        query = score = None
        if self.query is not None:
            before = np.concatenate([self.start[0][None], self.out[:-1]])
            query = _summed(self.dasked.reshape(-1, self.dasked.shape[2]), before.reshape(-1, before.shape[2]))
        if len(self.v):
            score = torch.from_numpy(np.sum([part.dv for part in each], 0))
        arrays = np.ascontiguousarray(self.dx[:, :, : self.wide]), self.dkeys, self.dvalues
        weights = _weight_gradients(Weights(*tensors[5:9]), each)
        return [*map(torch.from_numpy, arrays), query, score, *weights, *map(torch.from_numpy, self.grad_state)]

    def backward(self, part: _Rows) -> _Found:
        """All steps of some rows, the last one first."""
        rows, of = slice(part.first, part.last), np.arange(part.first, part.last)
        state = tuple(s[rows] for s in self.grad_state)
        packed, d, products, dv = self.work.packed(self.weight), [], [], np.zeros_like(self.v)
        steps = range(len(self.x) - 1, -1, -1)
        for t in steps:
            grad, sink = self.grad_out[t, rows], Sink(self.dx[t, rows], packed)
            step, made = self.scan.backward(part.calls[t], sink, self.out[t, rows], part.kept[t], grad, state)
            d.append(step)
            before = part.calls[t].state[0]
            products.append([p if p.factor is not None else p._replace(factor=before) for p in made])
            context, dasked = sink.dx[:, self.wide :] + self.grad_context[t, rows], self.dasked[t, rows]
            asking = self.asked[t, rows], self.v, self.scale, self.looked[t, rows], context
            look_back(self.keys, self.values, self.op.lengths, of, asking, self.dkeys, self.dvalues, (dasked, dv))
            if self.query is None:
                state[0][:] += dasked
            else:
                add_product(dasked, self.work.packed(self.query), state[0])
        x = np.concatenate([self.x[t, rows] for t in steps])
        return _Found(np.concatenate(d), x, [_joined(same) for same in zip(*products, strict=True)], dv)


class _Packing(Workspace):
    """A workspace of one thread in which a matrix is packed once for all steps."""

    def __init__(self, dtype: np.dtype) -> None:
        super().__init__(dtype, 1)
        self._seen: dict[tuple[Any, ...], np.ndarray] = {}

    def packed(self, w: np.ndarray) -> np.ndarray:
        return self._once(super().packed, w, "as it is")

    def packed_transposed(self, w: np.ndarray) -> np.ndarray:
        return self._once(super().packed_transposed, w, "transposed")

    def _once(self, pack: Callable[[np.ndarray], np.ndarray], w: np.ndarray, how: str) -> np.ndarray:
        key = w.ctypes.data, w.shape, how
        if key not in self._seen:
            self._seen[key] = pack(w)
        return self._seen[key]


def _weight_gradients(w: Weights, found: list[_Found]) -> list[Tensor | None]:
    """Of weight_ih, weight_hh, bias_ih and bias_hh."""
    gradients = [None if t is None else torch.zeros_like(t) for t in w[:4]]
    for part in found:
        each = [p._replace(d=p.d[:, p.first : p.last]) for p in part.products]
        recurrent = torch.cat([_summed(p.d, p.factor) for p in each]) if each else None
        inner = torch.cat([torch.from_numpy(p.d).sum(0) for p in each]) if each else None
        added = _summed(part.d, part.x), recurrent, torch.from_numpy(part.d).sum(0), inner
        for gradient, more in zip(gradients, added, strict=True):
            if gradient is not None and more is not None:
                gradient += more
    return gradients


def _joined(same: Sequence[Product]) -> Product:
    """A product over the rows of several steps."""
    factors = [p.factor for p in same if p.factor is not None]
    return same[0]._replace(d=np.concatenate([p.d for p in same]), factor=np.concatenate(factors))


def _summed(d: np.ndarray, factor: Any) -> Tensor:
    """d^T factor: the outer products of all rows, summed."""
    return torch.from_numpy(d).t() @ torch.from_numpy(factor)
