"""The arithmetic of word2vec: a few input vectors against a few targets, in one pass over each.

    scores  f_t = x . y_t
    learn   q = sigmoid(s_t x_c . y_t), the probability of what is right (s = +1: they belong together, -1: they do not)
            g[t, c] = rate_t s_t (1 - q)
            x_c += sum over t of g[t, c] y_t      y_t += sum over c of g[t, c] x_c      (all of them as they were before)
    moves   the last line alone, for one x and any g

The rows x_c and y_t lie anywhere in two tables, no row twice in a block. Each vector register of a row meets all registers
of the other side, so that 24 products cost 10 loads, and the scores of a block stay in registers until they are sums.
Rows are padded to whole registers. Written as LLVM vector instructions, like `product.py` and for the same reason.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels._jit import FAST
from unrolled.kernels.elementwise import Vector
from unrolled.kernels.product import VECTOR_BYTES

__all__ = ["CELLS", "INPUTS", "TARGETS", "WIDTH", "add_row", "learn", "moves", "padded", "prefetch", "scores", "table"]

_MANY_REGISTERS = VECTOR_BYTES == 64 or platform.machine().lower() in ("arm64", "aarch64")
#: The most targets in a block with 0, 1, 2, 3 or 4 inputs: what there are registers for,
#: for the sums and for the places of the rows.
TARGETS = (0, 12, 10, 8, 6) if _MANY_REGISTERS else (0, 8, 6, 4, 3)
INPUTS = len(TARGETS) - 1
#: Places for the sums of a block, and for what they are multiplied into.
CELLS = 32
#: The least probability that counts in the loss: 16.1 nats.
_LEAST = 1e-7
#: Numbers of single precision in a vector register.
WIDTH = VECTOR_BYTES // 4
_I64, _I32 = ir.IntType(64), ir.IntType(32)
_VECTOR, _DOUBLES = ir.VectorType(ir.FloatType(), WIDTH), ir.VectorType(ir.DoubleType(), WIDTH)


def padded(size: int) -> int:
    """Columns of a table whose rows of `size` numbers are whole registers."""
    return -(-size // WIDTH) * WIDTH


def table(rows: int, columns: int) -> np.ndarray:
    """Zeros (rows, columns) that begin at a cache line: a register that lies in two of them costs twice."""
    room = np.zeros(rows * columns * 4 + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + rows * columns * 4].view(np.float32).reshape(rows, columns)


def _place(builder: Any, base: Any, at: Any, kind: Any = _VECTOR) -> Any:
    return builder.bitcast(builder.gep(base, [at]), kind.as_pointer())


def _number(n: int) -> Any:
    return ir.Constant(_I64, n)


def _load(builder: Any, place: Any) -> Any:
    return builder.load(place, align=4)


def _fma(builder: Any, *operands: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f32"), operands)


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _levels() -> list[tuple[list[int], list[int]]]:
    """How two vectors become one of half as many partial sums each: first within groups of four lanes, then across."""
    w = WIDTH

    def in_fours(*lanes: int) -> list[int]:
        return [lane + 4 * group for group in range(w // 4) for lane in lanes]

    found = [
        (in_fours(0, w, 1, w + 1), in_fours(2, w + 2, 3, w + 3)),
        (in_fours(0, 1, w, w + 1), in_fours(2, 3, w + 2, w + 3)),
    ]
    if w > 4:
        half = w // 2
        found.append(([*range(half), *range(w, w + half)], [*range(half, w), *range(w + half, 2 * w)]))
    if w > 8:
        found.append(
            ([i + j for i in (0, 8, 16, 24) for j in range(4)], [i + j for i in (4, 12, 20, 28) for j in range(4)])
        )
    return found


def _sums(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums over each of WIDTH vectors, in order; where there is None, anything."""
    for low, high in _levels():
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        vectors = [None] * len(pairs)
        for i, (a, b) in enumerate(pairs):
            if a is not None or b is not None:
                a, b = (ir.Constant(_VECTOR, ir.Undefined) if v is None else v for v in (a, b))
                parts = _shuffled(builder, a, b, low), _shuffled(builder, a, b, high)
                vectors[i] = builder.fadd(*parts, flags=tuple(FAST))
    return vectors[0]


def _spacing(xs: list[Any]) -> int:
    """Cells for the inputs of one target: the next power of two."""
    return 1 << (len(xs) - 1).bit_length()


def _scored(builder: Any, xs: list[Any], ys: list[Any], vectors: Any) -> list[Any]:
    """The scores of the block, as vectors of its cells [t * spacing + c]; None where no cell is used."""
    pairs = [(t, c) for t in range(len(ys)) for c in range(len(xs))]
    entry, loop, done = builder.block, builder.append_basic_block("scores"), builder.append_basic_block("scored")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    totals = [builder.phi(_VECTOR) for _ in pairs]
    at = builder.mul(k, _number(WIDTH))
    x, y = ([_load(builder, _place(builder, base, at)) for base in bases] for bases in (xs, ys))
    after = [_fma(builder, x[c], y[t], total) for (t, c), total in zip(pairs, totals, strict=True)]
    following = builder.add(k, _number(1))
    k.add_incoming(_number(0), entry)
    k.add_incoming(following, loop)
    for total, then in zip(totals, after, strict=True):
        total.add_incoming(ir.Constant(_VECTOR, [0.0] * WIDTH), entry)
        total.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed("<", following, vectors), loop, done)
    builder.position_at_end(done)
    cells: list[Any] = [None] * CELLS
    for (t, c), total in zip(pairs, after, strict=True):
        cells[t * _spacing(xs) + c] = total
    return [_sums(builder, cells[i : i + WIDTH]) for i in range(0, CELLS, WIDTH)]


def _moved(builder: Any, xs: list[Any], ys: list[Any], vectors: Any, g: list[Any]) -> None:
    """Move the rows; g: vectors of cells."""

    def step(t: int, c: int) -> Any:
        vector, lane = divmod(t * _spacing(xs) + c, WIDTH)
        return _shuffled(builder, g[vector], g[vector], [lane] * WIDTH)

    steps = [[step(t, c) for c in range(len(xs))] for t in range(len(ys))]
    with cgutils.for_range(builder, vectors) as loop:
        at = builder.mul(loop.index, _number(WIDTH))
        places = [_place(builder, base, at) for base in (*xs, *ys)]
        rows = [_load(builder, place) for place in places]
        x, y = rows[: len(xs)], rows[len(xs) :]
        new_x, new_y = list(x), list(y)
        for t in range(len(ys)):
            for c in range(len(xs)):
                new_x[c] = _fma(builder, steps[t][c], y[t], new_x[c])
                new_y[t] = _fma(builder, steps[t][c], x[c], new_y[t])
        for value, place in zip([*new_x, *new_y], places, strict=True):
            builder.store(value, place, align=4)


def _learned(builder: Any, xs: list[Any], ys: list[Any], vectors: Any, signs: Any, rates: Any, product: Any) -> None:
    """Score the rows, multiply each q into the product, and move the rows."""
    spacing = _spacing(xs)
    g: list[Any] = []

    def of_targets(base: Any, i: int) -> Vector:
        """The numbers of the targets whose cells are in vector i, once for each cell."""
        some = _load(builder, _place(builder, base, _number(i * WIDTH // spacing)))
        return Vector(builder, _shuffled(builder, some, some, [lane // spacing for lane in range(WIDTH)]))

    for i, found in enumerate(_scored(builder, xs, ys, vectors)):
        if found is None:
            break
        sign, cell = of_targets(signs, i), _number(i * WIDTH)
        q = (Vector(builder, found) * sign).sigmoid()
        g.append(((1 - q) * sign * of_targets(rates, i)).value)
        places = (divmod(i * WIDTH + lane, spacing) for lane in range(WIDTH))
        used = ir.Constant(ir.VectorType(ir.IntType(1), WIDTH), [t < len(ys) and c < len(xs) for t, c in places])
        counted = builder.select(used, q.where("<", _LEAST, _LEAST, q).value, q.constant(1.0).value)
        place = _place(builder, product, cell, _DOUBLES)
        so_far = builder.fmul(builder.load(place, align=8), builder.fpext(counted, _DOUBLES))
        builder.store(so_far, place, align=8)
    _moved(builder, xs, ys, vectors, g)


def _block(emit: Callable[..., None], inputs: int, arrays: int) -> Any:
    """An intrinsic(n_inputs, n_targets, x, x_rows, y, y_rows, first, vectors, array, at, array, at, ...) that branches to
    the code that `emit` writes for each size of a block of at most `inputs` inputs.

    x, y: the tables, flat; x_rows, y_rows: where the rows begin, the latter from `first` on; vectors: registers in a row;
    arrays: numbers for each target from `at` on, readable for a whole register.
    """

    def typer(*kinds: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def data(i: int, *at: Any) -> Any:
                return builder.gep(context.make_array(signature.args[i])(context, builder, args[i]).data, list(at))

            def row(base: int, rows: int, i: Any) -> Any:
                return data(base, builder.load(data(rows, i)))

            n_inputs, n_targets, first, vectors = args[0], args[1], args[6], args[7]
            places = [data(8 + 2 * i, args[9 + 2 * i]) for i in range(arrays)]
            done = builder.append_basic_block("block_done")
            switch = builder.switch(builder.add(builder.mul(n_inputs, _number(32)), n_targets), done)
            for c in range(1, inputs + 1):
                for t in range(1, TARGETS[c] + 1):
                    here = builder.append_basic_block(f"block_{c}_{t}")
                    switch.add_case(_number(c * 32 + t), here)
                    builder.position_at_end(here)
                    xs = [row(2, 3, _number(i)) for i in range(c)]
                    ys = [row(4, 5, builder.add(first, _number(i))) for i in range(t)]
                    emit(builder, xs, ys, vectors, *places)
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(*kinds), codegen

    # numba reads the number of arguments from the signature
    names = ", ".join(f"a{i}" for i in range(8 + 2 * arrays))
    scope: dict[str, Any] = {"typer": typer}
    exec(f"def run(_, {names}):\n    return typer({names})", scope)
    return intrinsic(scope["run"])


def _emit_scores(builder: Any, xs: list[Any], ys: list[Any], vectors: Any, f: Any) -> None:
    for i, found in enumerate(_scored(builder, xs, ys, vectors)):
        if found is not None:
            builder.store(found, _place(builder, f, _number(i * WIDTH)), align=4)


def _emit_moves(builder: Any, xs: list[Any], ys: list[Any], vectors: Any, g: Any) -> None:
    needed = range(0, len(ys), WIDTH)
    _moved(builder, xs, ys, vectors, [_load(builder, _place(builder, g, _number(i))) for i in needed])


#: scores(1, ..., f), moves(1, ..., g), learn(..., signs, rates, product)
scores: Any = _block(_emit_scores, 1, 1)
moves: Any = _block(_emit_moves, 1, 1)
learn: Any = _block(_learned, INPUTS, 3)


def _add_row_code(_: Any, to: Any, to_at: Any, row: Any, row_at: Any, vectors: Any, factor: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into, source = (
            builder.gep(context.make_array(signature.args[i])(context, builder, args[i]).data, [args[i + 1]])
            for i in (0, 2)
        )
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[5], ir.Constant(_I32, 0))
        times = _shuffled(builder, one, one, [0] * WIDTH)
        with cgutils.for_range(builder, args[4]) as loop:
            at = builder.mul(loop.index, _number(WIDTH))
            place = _place(builder, into, at)
            total = _fma(builder, times, _load(builder, _place(builder, source, at)), _load(builder, place))
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(to, to_at, row, row_at, vectors, factor), codegen


def _prefetch_code(_: Any, array: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(_I32, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, at), codegen


#: add_row(to, to_at, row, row_at, vectors, factor): to[to_at...] += factor row[row_at...], a row of so many registers.
add_row: Any = intrinsic(_add_row_code)
#: prefetch(array, at): ask for the cache line of array[at], soon to be read and written.
prefetch: Any = intrinsic(_prefetch_code)
