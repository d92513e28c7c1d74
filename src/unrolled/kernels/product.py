"""The small matrix product inside a recurrent step: C += A B with B packed once and used at every step.

A step multiplies few rows (the batch) with the recurrent matrix. BLAS prepares that matrix again at every call; here it
is packed once per sequence into panels that the innermost loop reads from front to back:

    B (K, N)  ->  for each block of 256 rows, for each panel of PANEL columns:  k-th row of the panel, zero-filled

The innermost loop holds a tile of up to 6 x PANEL entries of C in vector registers and adds A[r, k] * B[k, panel] for one
k after another: per step one load of the panel's row, one broadcast for each row of A, and two multiply-adds of whole
vectors for each. It is written as LLVM vector instructions, which become AVX-512, AVX2 or NEON as the machine has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels._jit import kernel

__all__ = [
    "UNIT",
    "VECTOR_BYTES",
    "add_outer",
    "add_picked",
    "multiply",
    "new_tile",
    "pack",
    "pack_transposed",
    "packed_size",
]

_FEATURES = binding.get_host_cpu_features()
#: Bytes of a vector register.
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
#: Vectors in a row of the tile, rows of the tile: 2 x 6 accumulators hide the latency of a multiply-add.
_VECTORS, _ROWS = 2, 6
#: Rows of B in a block: a panel of it stays in the first-level cache.
_BLOCK = 256
#: Numbers that are no constants for numba, which would compile a version of `multiply` for each of those.
UNIT, ZERO = np.int64(1), np.int64(0)
#: Numbers in a cache line.
_LINE = 16


def _columns_of_a_panel(_: Any, array: Any) -> Any:
    """32 for float32 with AVX-512: a constant for the compiler, which depends on the kind of number."""
    columns = _VECTORS * VECTOR_BYTES * 8 // array.dtype.bitwidth
    return types.intp(array), lambda *_: ir.Constant(ir.IntType(64), columns)


_panel: Any = intrinsic(_columns_of_a_panel)


def _tile_of(rows: int, panels: int) -> Any:
    """The innermost loop for a tile of `rows` rows and the columns of `panels` panels."""

    @intrinsic
    def tile(
        _: Any, a: Any, a_at: Any, a_row: Any, a_k: Any, b: Any, b_at: Any, c: Any, c_at: Any, c_row: Any, k: Any
    ) -> Any:
        """C tile += A tile times k rows of the panels, which may be of bytes."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 4, 6)]
            _emit_tile(builder, c.dtype.bitwidth, rows, panels, data, args)
            return context.get_dummy_value()

        return types.void(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k), codegen

    return tile


def _load(builder: Any, pointer: Any, vector: Any) -> Any:
    """The numbers from `pointer` on as a vector; bytes are converted."""
    kind, count = pointer.type.pointee, vector.count
    as_stored = ir.VectorType(kind, count)
    aligned = 1 if isinstance(kind, ir.IntType) else 4 if isinstance(kind, ir.FloatType) else 8
    value = builder.load(builder.bitcast(pointer, as_stored.as_pointer()), align=aligned)
    return builder.sitofp(builder.sext(value, ir.VectorType(ir.IntType(32), count)), vector) if aligned == 1 else value


def _emit_tile(builder: Any, bits: int, rows: int, panels: int, data: list[Any], args: Any) -> None:
    _, a_at, a_row, a_k, _, b_at, _, c_at, c_row, depth = args
    number, i64 = (ir.FloatType() if bits == 32 else ir.DoubleType()), ir.IntType(64)
    width, vectors = VECTOR_BYTES * 8 // bits, panels * _VECTORS
    vector = ir.VectorType(number, width)
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f{bits}")
    spread = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)

    def constant(n: int) -> Any:
        return ir.Constant(i64, n)

    def row_of(base: Any, at: Any, length: Any, r: int) -> Any:
        return builder.gep(base, [builder.add(at, builder.mul(constant(r), length))])

    a_rows = [row_of(data[0], a_at, a_row, r) for r in range(rows)]
    c_places = [
        builder.gep(row_of(data[2], c_at, c_row, r), [constant(v * width)]) for r in range(rows) for v in range(vectors)
    ]
    panel_size = builder.mul(depth, constant(_VECTORS * width))
    b_panels = [builder.gep(data[1], [builder.add(b_at, builder.mul(constant(p), panel_size))]) for p in range(panels)]
    start = [_load(builder, place, vector) for place in c_places]
    entry = builder.block
    loop, done = builder.append_basic_block("k_loop"), builder.append_basic_block("k_done")
    builder.cbranch(builder.icmp_signed(">", depth, constant(0)), loop, done)

    builder.position_at_end(loop)
    k = builder.phi(i64)
    sums = [builder.phi(vector) for _ in start]
    a_place = builder.mul(k, a_k)
    panel_row = builder.mul(k, constant(_VECTORS * width))
    b = [
        _load(builder, builder.gep(panel, [builder.add(panel_row, constant(v * width))]), vector)
        for panel in b_panels
        for v in range(_VECTORS)
    ]
    after = []
    for r in range(rows):
        x = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.load(builder.gep(a_rows[r], [a_place])), constant(0)
        )
        x = builder.shuffle_vector(x, ir.Constant(vector, ir.Undefined), spread)
        after += [builder.call(fma, [x, b[v], sums[r * vectors + v]]) for v in range(vectors)]
    following = builder.add(k, constant(1))
    k.add_incoming(constant(0), entry)
    k.add_incoming(following, loop)
    for total, first, then in zip(sums, start, after, strict=True):
        total.add_incoming(first, entry)
        total.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    results = [builder.phi(vector) for _ in start]
    for result, first, then in zip(results, start, after, strict=True):
        result.add_incoming(first, entry)
        result.add_incoming(then, loop)
    for result, place in zip(results, c_places, strict=True):
        builder.store(result, builder.bitcast(place, vector.as_pointer()), align=bits // 8)


_tile1x4, _tile1, _tile2, _tile3, _tile4, _tile5, _tile6 = (
    _tile_of(rows, panels) for rows, panels in [(1, 4), *((rows, 1) for rows in range(1, _ROWS + 1))]
)


@kernel
def _any_tile(rows, a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k):  # type: ignore[no-untyped-def]
    if rows == 6:
        _tile6(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)
    elif rows == 5:
        _tile5(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)
    elif rows == 4:
        _tile4(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)
    elif rows == 3:
        _tile3(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)
    elif rows == 2:
        _tile2(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)
    else:
        _tile1(a, a_at, a_row, a_k, b, b_at, c, c_at, c_row, k)


@kernel
def multiply(a, a_at, a_row, a_k, packed, c, c_at, c_row, rows, columns, depth, tile):  # type: ignore[no-untyped-def]
    """C (rows, columns) += A (rows, depth) B.

    The arrays are one-dimensional. A[r, k] is a[a_at + r * a_row + k * a_k], C[r, j] is c[c_at + r * c_row + j]; `packed`
    comes from `pack` or `pack_transposed`, `tile` from `new_tile`. The rows are shared out evenly among the tiles
    (32 = 6 + 6 + 5 + 5 + 5 + 5), and the columns of a last narrow panel pass through `tile`.
    """
    panel = _panel(c)
    tiles = (rows + _ROWS - 1) // _ROWS
    panels = (columns + panel - 1) // panel
    for k in range(0, depth, _BLOCK):
        deep = min(_BLOCK, depth - k)
        done = 0
        if rows == 1:  # four panels at a time: with one row, a single panel leaves the adders waiting for their results
            for p in range(0, columns // panel - 3, 4):
                b_at = k * panels * panel + p * deep * panel
                _tile1x4(a, a_at + k * a_k, a_row, a_k, packed, b_at, c, c_at + p * panel, c_row, deep)
                done = p + 4
        for p in range(done, panels):
            b_at = k * panels * panel + p * deep * panel
            inside = min(panel, columns - p * panel)
            r = 0
            for i in range(tiles):
                n = (rows - r + tiles - i - 1) // (tiles - i)
                here = c_at + r * c_row + p * panel
                there = a_at + r * a_row + k * a_k
                if inside == panel:
                    _any_tile(n, a, there, a_row, a_k, packed, b_at, c, here, c_row, deep)
                else:
                    tile[:] = 0
                    _any_tile(n, a, there, a_row, a_k, packed, b_at, tile, ZERO, panel, deep)
                    for row in range(n):
                        for j in range(inside):
                            c[here + row * c_row + j] += tile[row * panel + j]
                r += n


@kernel
def new_tile(like):  # type: ignore[no-untyped-def]
    """Room for one tile of numbers like those of the array `like`."""
    return np.empty(_ROWS * _panel(like), like.dtype)


def packed_size(depth: int, columns: int, dtype: np.dtype) -> int:
    """Numbers in a packed matrix (depth, columns)."""
    panel = _VECTORS * VECTOR_BYTES // dtype.itemsize
    return depth * -(-columns // panel) * panel


@kernel
def pack(b, packed):  # type: ignore[no-untyped-def]
    """B (K, N) into `packed`, in the order in which `multiply` reads it."""
    depth, columns = b.shape
    panel = _panel(b)
    whole, panels = columns // panel, (columns + panel - 1) // panel
    for row in range(depth):
        k = row // _BLOCK * _BLOCK
        deep = min(_BLOCK, depth - k)
        at = k * panels * panel + (row - k) * panel
        for p in range(whole):
            for i in range(panel):
                packed[at + i] = b[row, p * panel + i]
            at += deep * panel
        if whole < panels:
            for i in range(panel):
                packed[at + i] = b[row, whole * panel + i] if whole * panel + i < columns else 0


@kernel
def pack_transposed(w, packed):  # type: ignore[no-untyped-def]
    """`pack(w.T)`: for products with W^T, as in W_hh a<t-1>."""
    columns, depth = w.shape
    panel, at = _panel(w), 0
    for k in range(0, depth, _BLOCK):
        deep = min(_BLOCK, depth - k)
        for j in range(0, columns, panel):
            inside = min(panel, columns - j)
            for r in range(0, deep, _LINE):  # a cache line of each row at a time
                few = min(_LINE, deep - r)
                for i in range(panel):
                    here = at + r * panel + i
                    if i >= inside:
                        for q in range(few):
                            packed[here + q * panel] = 0
                    elif few == _LINE:
                        line = w[j + i, k + r : k + r + _LINE]
                        for q in range(_LINE):
                            packed[here + q * panel] = line[q]
                    else:
                        for q in range(few):
                            packed[here + q * panel] = w[j + i, k + r + q]
            at += deep * panel


@kernel
def add_outer(d, d_row, d_column, packed, n, w, first, last):  # type: ignore[no-untyped-def]
    """w += d^T x for n rows of d from `d_row` on, its columns from `d_column` on, and a packed x (n, K).

    Of w (M, K), the rows first..last are done; they stand for columns of d.
    """
    d_flat, w_flat, tile, wide, columns = d.reshape(-1), w.reshape(-1), new_tile(w), d.shape[1], w.shape[1]
    at = d_row * wide + d_column + first
    multiply(d_flat, at, UNIT, wide, packed, w_flat, first * columns, columns, last - first, columns, n, tile)


@kernel
def add_picked(d, index, table, first, last):  # type: ignore[no-untyped-def]
    """table[index[n]] += d[n] for every row n of d (N, G), in the columns first..last."""
    for n in range(len(d)):
        to, row = table[index[n], first:last], d[n, first:last]
        for j in range(last - first):
            to[j] += row[j]
