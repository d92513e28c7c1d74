"""A layer that looks somewhere before each step as one operation of autograd: the twin of `unroll.unroll_attending`.

Forward, step by step: what the last output asks, `look`, and one step of the cell's scan over [x<t>; c<t>].
Backward: the scan's step passes on the gradients of both, `look_back` what memory and question get of it; then the
gradients of the weights, each as one product over all steps.

The rows of a batch are shared out among the threads, each of which goes through all steps on its own. Rows may look at the
same memory; where a row has ended, nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.cells import Cell, Weights
from unrolled.kernels.attend import add_product, approach, look, look_back
from unrolled.kernels.bounds import check_ids, check_shape
from unrolled.kernels.scan import Arrays, Call, Order, Product, Sink, Source
from unrolled.kernels.workspace import Workspace
from unrolled.layers.compiled import as_array, as_arrays, bias_of, check_one_kind, check_scan, scan_for
from unrolled.layers.layout import Layout
from unrolled.types import State, state_like, state_tensors

__all__ = ["Asking", "attending_layer"]

#: Numbers put out in all steps below which a second thread costs more than it brings.
_WORTH_THREADS = 30_000


class Asking(NamedTuple):
    """How a layer looks at I memories: keys (I, S, A), values (I, S, M), lengths (I,). query (A, H), or None where its
    output asks as it is; score (A,) of additive attention, or None; scale: what scores are multiplied with; pace: of
    attention that moves on, else 0.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor
    query: Tensor | None
    score: Tensor | None
    scale: float
    pace: float


def attending_layer(
    cell: Cell,
    x: Tensor,
    state: State,
    w: Weights,
    asking: Asking,
    of: Tensor,
    layout: Layout,
    before: Tensor,
) -> tuple[Tensor, Tensor, Tensor, State]:
    """x (T, B, D), state (B, H), of (B,): the memory that each row looks at, before (B, S): where it looked last -> outputs
    (T, B, H), contexts (T, B, M), weights (T, B, S), through which no gradient flows, all zero behind a row's end, and the
    state there. All of one kind of number, on the CPU. ShapeError for shapes that do not fit, and rows out of range.
    """
    _check(cell, x, state, w, asking, of, before)
    if layout.order is not None:
        x, of = x.index_select(1, layout.order), of[layout.order]
        before = before[layout.order]
    tensors = (x, asking.keys, asking.values, asking.query, asking.score, *w[:4], *state_tensors(layout.sort(state)))
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    sizes = np.array(layout.batch_sizes, np.int64)
    lengths, last = asking.lengths.numpy(), before.detach().contiguous().numpy()
    operation = _Operation(cell, asking.scale, asking.pace, lengths, of.numpy(), sizes, last, keep)
    made = list(_Attending.apply(operation, *tensors))
    if layout.inverse is not None:
        made[:3] = [part.index_select(1, layout.inverse) for part in made[:3]]
    return made[0], made[1], made[2], layout.unsort(state_like(state, made[3:]))


def _check(cell: Cell, x: Tensor, state: State, w: Weights, asking: Asking, of: Tensor, before: Tensor) -> None:
    """ShapeError unless all fits."""
    check_one_kind(x, asking.keys, asking.values, asking.query, asking.score, before, *w[:4], *state_tensors(state))
    (_, rows, wide), (memories, positions, size) = x.shape, asking.keys.shape
    seen = asking.values.shape[2]
    check_scan(cell, wide + seen, rows, state, w)
    check_shape("values", asking.values.shape, (memories, positions, None))
    check_shape("lengths of memories", asking.lengths.shape, (memories,))
    check_ids("lengths of memories", asking.lengths.numpy(), positions + 1)
    check_shape("memories of rows", of.shape, (rows,))
    check_ids("memories of rows", of.numpy(), memories if positions else 0)
    check_shape("where rows looked", before.shape, (rows, positions))
    if asking.query is not None:
        check_shape("the query", asking.query.shape, (size, cell.output_size))
    if asking.score is not None:
        check_shape("the score", asking.score.shape, (size,))


class _Operation(NamedTuple):
    """What a call is besides its tensors. of (B,): the memory of each row; sizes: how many rows run at each step; before
    (B, S): where each row begins to look.
    """

    cell: Cell
    scale: float
    pace: float
    lengths: np.ndarray
    of: np.ndarray
    sizes: np.ndarray
    before: np.ndarray
    keep: bool


class _Attending(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: _Operation, *tensors: Any) -> tuple[Tensor, ...]:
        loop = _Loop(op, tensors)
        if len(op.sizes):
            loop.threads().by_work(op.sizes, loop.forward)
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
    """The steps of the rows from `first` on, as long as any runs: what the scan was given at each, and what it kept."""

    first: int
    calls: list[Call]
    kept: list[Arrays]


class _Found(NamedTuple):
    """What some rows add to gradients, all their N steps together: d (N, G*H) of the projected inputs, these inputs
    x (N, D + M), the products of the scan, dasked (N, A) of the questions, the outputs (N, H) that asked; dkeys and dvalues
    of all memories, and dv (A,) of the small network's output.
    """

    d: np.ndarray
    x: np.ndarray
    products: list[Product]
    dasked: np.ndarray
    asking: np.ndarray
    dkeys: np.ndarray
    dvalues: np.ndarray
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
        for t in range(len(x)):
            ended = slice(int(op.sizes[t]) if t < len(op.sizes) else 0, None)
            self.x[t, ended, self.wide :] = self.looked[t, ended] = self.out[t, ended] = 0
        self.done: list[_Rows] = []

    def threads(self) -> Workspace:
        """As many threads as torch has, if there is enough to do."""
        return Workspace(self.out.dtype, torch.get_num_threads() if self.out.size > _WORTH_THREADS else 1)

    def forward(self, first: int, last: int) -> None:
        """All steps of the rows first to last."""
        packed = self.work.packed_transposed(self.weight)
        state, calls, kept = tuple(s[first:last] for s in self.final), list[Call](), list[Arrays]()
        for t, size in enumerate(self.op.sizes):
            n = min(int(size), last) - first
            if n <= 0:
                break
            rows, before = slice(first, first + n), tuple(s[:n].copy() for s in state)
            asked = self.asked[t, rows]
            if self.query is None:
                asked[:] = before[0]
            else:
                asked[:] = 0
                add_product(before[0], self.work.packed_transposed(self.query), asked)
            context, weights = np.empty((n, self.values.shape[2]), asked.dtype), self.looked[t, rows]
            if self.op.pace:
                looked_last = self.looked[t - 1, rows] if t else self.op.before[rows]
                approach(looked_last, self.op.pace, self.op.lengths, self.op.of[rows], weights)
            else:
                weights[:] = 0
            look(self.keys, self.values, self.op.lengths, self.op.of[rows], asked, self.v, self.scale, context, weights)
            self.x[t, rows, self.wide :] = context
            call = Call(Order(np.zeros(1, np.int64), np.array([n])), before, self.recurrent, self.work, self.op.keep)
            source = Source(self.x[t, rows], packed, self.bias)
            left = self.scan.forward(call, source, self.out[t, rows], tuple(s[:n] for s in state))
            if self.op.keep:
                calls.append(call)
                kept.append(left)
        if self.op.keep:
            self.done.append(_Rows(first, calls, kept))

    def gradients(self, tensors: Sequence[Any], *grads: np.ndarray) -> list[Tensor | None]:
        """Of all tensors, from those of the outputs, the contexts, nothing, and the last state."""
        self.grad_out, self.grad_context = grads[0], grads[1]
        self.grad_state: Arrays = tuple(g.copy() for g in grads[3:])
        self.dx = np.zeros_like(self.x)
        parts, found = sorted(self.done, key=lambda part: part.first), dict[int, _Found]()  # sums in the same order always
        self.threads().evenly((len(parts), lambda i, j: found.update((k, self.backward(parts[k])) for k in range(i, j))))
        total = [None if t is None else torch.zeros_like(t) for t in tensors[1:9]]
        for k in range(len(parts)):
            for gradient, more in zip(total, _gradients(found[k], asks=self.query is not None), strict=True):
                if gradient is not None and more is not None:
                    gradient += more
        dx = np.ascontiguousarray(self.dx[:, :, : self.wide])
        return [torch.from_numpy(dx), *total, *map(torch.from_numpy, self.grad_state)]

    def backward(self, part: _Rows) -> _Found:
        """All steps of some rows, the last one first."""
        packed, d, products, asked, dv = self.work.packed(self.weight), [], [], [], np.zeros_like(self.v)
        dkeys, dvalues = np.zeros_like(self.keys), np.zeros_like(self.values)
        steps = range(len(part.calls) - 1, -1, -1)
        running = [slice(part.first, part.first + len(call.state[0])) for call in part.calls]
        for t in steps:
            rows, before = running[t], part.calls[t].state[0]
            grad, state = self.grad_out[t, rows], tuple(s[rows] for s in self.grad_state)
            sink = Sink(self.dx[t, rows], packed)
            step, made = self.scan.backward(part.calls[t], sink, self.out[t, rows], part.kept[t], grad, state)
            d.append(step)
            products.append([p if p.factor is not None else p._replace(factor=before) for p in made])
            context, dasked = sink.dx[:, self.wide :] + self.grad_context[t, rows], np.zeros_like(self.asked[t, rows])
            asking = self.asked[t, rows], self.v, self.scale, self.looked[t, rows], context
            look_back(self.keys, self.values, self.op.lengths, self.op.of[rows], asking, dkeys, dvalues, (dasked, dv))
            asked.append(dasked)
            if self.query is None:
                state[0][:] += dasked
            else:
                add_product(dasked, self.work.packed(self.query), state[0])
        x = np.concatenate([self.x[t, running[t]] for t in steps])
        asking = np.concatenate([part.calls[t].state[0] for t in steps])
        joined = [_joined(same) for same in zip(*products, strict=True)]
        return _Found(np.concatenate(d), x, joined, np.concatenate(asked), asking, dkeys, dvalues, dv)


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


def _gradients(part: _Found, *, asks: bool) -> list[Tensor | None]:
    """Of keys, values, query, score, weight_ih, weight_hh, bias_ih and bias_hh."""
    each = [p._replace(d=p.d[:, p.first : p.last]) for p in part.products]
    recurrent = torch.cat([_summed(p.d, p.factor) for p in each]) if each else None
    inner = torch.cat([torch.from_numpy(p.d).sum(0) for p in each]) if each else None
    memory, d = map(torch.from_numpy, (part.dkeys, part.dvalues)), torch.from_numpy(part.d)
    query = _summed(part.dasked, part.asking) if asks else None
    return [*memory, query, torch.from_numpy(part.dv), _summed(part.d, part.x), recurrent, d.sum(0), inner]


def _joined(same: Sequence[Product]) -> Product:
    """A product over the rows of several steps."""
    factors = [p.factor for p in same if p.factor is not None]
    return same[0]._replace(d=np.concatenate([p.d for p in same]), factor=np.concatenate(factors))


def _summed(d: np.ndarray, factor: Any) -> Tensor:
    """d^T factor: the outer products of all rows, summed."""
    return torch.from_numpy(d).t() @ torch.from_numpy(factor)
