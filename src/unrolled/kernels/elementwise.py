"""Formulas of one number, compiled to loops over whole vector registers.

    @elementwise(writes=("c",))
    def _remember(f, i, g, c):
        return f * c + i * g,

makes a function for kernels, `_remember(f, i, g, c)`, of one-dimensional arrays of one length that stores what the
formula returns in the arrays named by `writes` (arrays that the formula does not read follow the ones that it does). A
compiler that sees a loop over many arrays cannot know that they do not overlap, and gives up vector code or pays for
checks in every row; here the formula is run once, on `Vector`s, to write that code down.

In single precision, tanh x is a quotient of two polynomials, x p(x^2) / q(x^2) of degree 13 and 6 with |x| <= 7.9 (the
minimax form that several libraries use): within 4e-7 everywhere. In double precision it is (1 - e) / (1 + e) with
e = exp(-2 |x|). sigmoid(x) = tanh(x / 2) / 2 + 1 / 2. exp x = 2^n e^r with x = n ln 2 + r, e^r by its series.
NaN stays NaN.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels._jit import FAST
from unrolled.kernels.product import VECTOR_BYTES

__all__ = ["Vector", "elementwise"]

_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_LIMIT = 7.90531110763549805
_LN2 = (0.693359375, -2.12194440054690583e-4)
_E = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)


class Vector:
    """As many numbers as a vector register holds, while code for them is being written."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder, self._value = builder, value

    @property
    def value(self) -> Any:
        """The LLVM value."""
        return self._value

    def _other(self, x: Vector | float) -> Any:
        return x.value if isinstance(x, Vector) else ir.Constant(self._value.type, [x] * self._value.type.count)

    def _call(self, name: str, *operands: Any) -> Vector:
        vector = self._value.type
        bits = 32 if isinstance(vector.element, ir.FloatType) else 64
        kind = ir.FunctionType(vector, [vector] * len(operands))
        function = cgutils.get_or_insert_function(self._builder.module, kind, f"llvm.{name}.v{vector.count}f{bits}")
        return Vector(self._builder, self._builder.call(function, operands))

    def __add__(self, x: Vector | float) -> Vector:
        return Vector(self._builder, self._builder.fadd(self._value, self._other(x), flags=_FLAGS))

    def __sub__(self, x: Vector | float) -> Vector:
        return Vector(self._builder, self._builder.fsub(self._value, self._other(x), flags=_FLAGS))

    def __mul__(self, x: Vector | float) -> Vector:
        return Vector(self._builder, self._builder.fmul(self._value, self._other(x), flags=_FLAGS))

    def __truediv__(self, x: Vector | float) -> Vector:
        return Vector(self._builder, self._builder.fdiv(self._value, self._other(x), flags=_FLAGS))

    def __rsub__(self, x: float) -> Vector:
        return Vector(self._builder, self._builder.fsub(self._other(x), self._value, flags=_FLAGS))

    def constant(self, x: float) -> Vector:
        """A vector of one number, whatever self holds."""
        return Vector(self._builder, self._other(x))

    def where(self, comparison: str, bound: float, then: Vector | float, otherwise: Vector | float) -> Vector:
        """`then` where self is < or > bound, else `otherwise`; NaN is neither."""
        holds = self._builder.fcmp_ordered(comparison, self._value, self._other(bound))
        return Vector(self._builder, self._builder.select(holds, self._other(then), self._other(otherwise)))

    def polynomial(self, coefficients: Sequence[float]) -> Vector:
        """The polynomial with these coefficients, highest power first."""
        total = self._other(coefficients[0])
        for c in coefficients[1:]:
            total = self._call("fma", total, self._value, self._other(c)).value
        return Vector(self._builder, total)

    def tanh(self) -> Vector:
        if isinstance(self._value.type.element, ir.DoubleType):
            sign = self.where("<", 0, -1, 1)
            e = (self * sign * -2.0).exp()
            return sign * (1 - e) / (e + 1)
        x = self.where(">", _LIMIT, _LIMIT, self)
        x = x.where("<", -_LIMIT, -_LIMIT, x)
        s = x * x
        return x * s.polynomial(_P) / s.polynomial(_Q)

    def exp(self) -> Vector:
        """e^x. In single precision for x <= 0, within two units in the last place; about 1e-38 where it is less."""
        if isinstance(self._value.type.element, ir.DoubleType):
            return self._call("exp", self._value)
        x = self.where("<", -87.0, -87.0, self)
        n, r = x * math.log2(math.e), x
        n = n._call("rint", n.value)
        for part in _LN2:  # n times the first part of ln 2 is exact
            r = r._call("fma", n.value, self._other(-part), r.value)
        bits = ir.VectorType(ir.IntType(32), self._value.type.count)
        power = self._builder.add(self._builder.fptosi(n.value, bits), ir.Constant(bits, [127] * bits.count))
        power = self._builder.shl(power, ir.Constant(bits, [23] * bits.count))
        return r.polynomial(_E) * Vector(self._builder, self._builder.bitcast(power, self._value.type))

    def sigmoid(self) -> Vector:
        return (self * 0.5).tanh() * 0.5 + 0.5


_FLAGS = tuple(FAST)


def elementwise(writes: Sequence[str]) -> Callable[[Callable[..., tuple[Vector, ...]]], Any]:
    """Make a function for kernels of a formula of `Vector`s: see the module's docstring."""

    def make(formula: Callable[..., tuple[Vector, ...]]) -> Any:
        reads = list(inspect.signature(formula).parameters)
        names = reads + [name for name in writes if name not in reads]

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = [context.make_array(t)(context, builder, a) for t, a in zip(signature.args, args, strict=True)]
            data = dict(zip(names, (array.data for array in arrays), strict=True))
            size = builder.extract_value(arrays[0].shape, 0)
            _emit_loop(builder, formula, data, reads, writes, size)
            return context.get_dummy_value()

        def typer(*arrays: Any) -> Any:
            return types.void(*arrays), codegen

        # numba reads the number of arguments from the signature
        arguments = ", ".join(names)
        scope: dict[str, Any] = {"typer": typer}
        exec(f"def {formula.__name__}(_, {arguments}):\n    return typer({arguments})", scope)
        function = scope[formula.__name__]
        function.__doc__, function.__module__ = formula.__doc__, formula.__module__
        return intrinsic(function)

    return make


def _emit_loop(
    builder: Any, formula: Callable[..., tuple[Vector, ...]], data: dict[str, Any], reads: list[str],
    writes: Sequence[str], size: Any
) -> None:  # fmt: skip
    """Whole vectors first, then the rest with a mask."""
    number = next(iter(data.values())).type.pointee
    bits = 32 if isinstance(number, ir.FloatType) else 64
    vector = ir.VectorType(number, VECTOR_BYTES * 8 // bits)
    i64 = size.type
    width = ir.Constant(i64, vector.count)

    def place(name: str, j: Any) -> Any:
        return builder.bitcast(builder.gep(data[name], [j]), vector.as_pointer())

    def run(j: Any, load: Callable[[Any], Any], store: Callable[[Any, Any], None]) -> None:
        values = formula(*(Vector(builder, load(place(name, j))) for name in reads))
        for name, value in zip(writes, values, strict=True):
            store(value.value, place(name, j))

    def load(pointer: Any) -> Any:
        return builder.load(pointer, align=bits // 8)

    def store(value: Any, pointer: Any) -> None:
        builder.store(value, pointer, align=bits // 8)

    whole = builder.sub(size, builder.srem(size, width))
    with cgutils.for_range_slice(builder, ir.Constant(i64, 0), whole, width) as (j, _):
        run(j, load, store)
    with builder.if_then(builder.icmp_signed("<", whole, size)):
        _emit_rest(builder, vector, bits, builder.sub(size, whole), lambda get, put: run(whole, get, put))


def _emit_rest(builder: Any, vector: Any, bits: int, count: Any, run: Callable[..., None]) -> None:
    flags, pointer = ir.VectorType(ir.IntType(1), vector.count), vector.as_pointer()
    align = ir.Constant(ir.IntType(32), bits // 8)
    lanes = ir.VectorType(count.type, vector.count)
    limit = builder.insert_element(ir.Constant(lanes, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    spread = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    limit = builder.shuffle_vector(limit, limit, spread)
    mask = builder.icmp_signed("<", ir.Constant(lanes, list(range(vector.count))), limit)
    suffix = f"v{vector.count}f{bits}.p0"
    kinds = [pointer, ir.IntType(32), flags]
    get = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [*kinds, vector]), f"llvm.masked.load.{suffix}"
    )
    put = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [vector, *kinds]), f"llvm.masked.store.{suffix}"
    )
    zero = ir.Constant(vector, [0.0] * vector.count)
    run(
        lambda p: builder.call(get, [p, align, mask, zero]),
        lambda value, p: builder.call(put, [value, p, align, mask]),
    )
